"""The plan: every choice made - kernel per step, packed constants, arena offsets. After it, emitting is laying out text."""

from labc.plan.core import Level as Level
from labc.plan.core import Plan as Plan
from labc.plan.fits import fits as fits
from labc.plan.fits import largest as largest
from labc.plan.select import plan as plan

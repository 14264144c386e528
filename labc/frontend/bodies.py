"""Model-local functions are believed only after they were evaluated: a file may define `BipolarQuant` to be anything."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from labc.errors import LabcError

# QONNX's operators under the three domain names their files use.
QONNX_DOMAINS = frozenset({"qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"})
# What a body may be made of: element by element, no loops, no files, nothing that grows.
_PLAIN = frozenset({"Constant", "Identity", "Cast", "CastLike", "Neg", "Mul", "Sub", "Add", "Not", "Less", "GreaterOrEqual", "Where"})
_MOST_NODES = 16
_POINTS = np.array([-3e38, -1.5, -1e-38, -0.0, 0.0, 1e-45, 1e-38, 0.5, 3e38], np.float32)
_SCALES = (1.0, 0.75, 0.1, 3e-5, 1234.567, 1e30)


def check_bodies(model: onnx.ModelProto) -> None:
    """Raise LabcError unless every model-local function is BipolarQuant and computes scale·(x ≥ 0 ? 1 : −1)."""
    for function in model.functions:
        place = f"{function.name} (function of domain {function.domain or 'ai.onnx'})"
        if function.domain not in QONNX_DOMAINS or function.name != "BipolarQuant":
            raise LabcError(f"{place}: is not read; labc knows BipolarQuant - inline the function (onnx.inliner) and try again")
        values = [value for node in function.node for value in node.attribute]
        if any(value.ByteSize() > 256 or value.t.data_location == onnx.TensorProto.EXTERNAL for value in values):
            raise LabcError(f"{place}: its body holds a large constant; re-export with labc.train.export")
        used = [node.op_type for node in function.node]
        plain = len(used) <= _MOST_NODES and _PLAIN.issuperset(used) and not any(node.domain for node in function.node)
        if not plain or (function.input and not _compares_only(function)):
            raise LabcError(f"{place}: its body is not a plain comparison; re-export with labc.train.export")
        if len(function.input) != 2 or len(function.output) != 1 or function.attribute or function.attribute_proto:
            raise LabcError(
                f"{place}: takes {len(function.input)} inputs, BipolarQuant takes x and scale; re-export with labc.train.export"
            )
        for scale in _SCALES:
            got = _evaluate(function, scale, place)
            want = np.where(_POINTS >= 0, np.float32(scale), np.float32(-scale))
            if not np.array_equal(got, want):
                raise LabcError(f"{place}: its body is not scale*(x >= 0 ? 1 : -1); re-export with labc.train.export")


def _compares_only(function: onnx.FunctionProto) -> bool:
    """Whether x is read only by comparisons with the constant 0: then a few points show what the body does on all of them."""
    same = {function.input[0]}
    zeros: set[str] = set()
    for node in function.node:
        first = node.input[0] if node.input else ""
        match node.op_type:
            case "Constant":
                zero = not any(map(_nonzero, node.attribute))
                zeros.update(node.output if zero else ())
            case "Cast" | "CastLike" if first not in same:  # CastLike(0, x) asks for x's type alone
                zeros.update(node.output if first in zeros else ())
            case "Identity":
                same.update(node.output if first in same else ())
                zeros.update(node.output if first in zeros else ())
            case "GreaterOrEqual" | "Less":
                if not any(a in same and b in zeros for a, b in (node.input, reversed(node.input))):
                    return False
            case _ if same.intersection(node.input):
                return False
    return True


def _nonzero(attribute: onnx.AttributeProto) -> bool:
    value = helper.get_attribute_value(attribute)
    try:
        return bool(np.any(numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)))
    except (ValueError, TypeError, OverflowError):
        return True


def _evaluate(function: onnx.FunctionProto, scale: float, place: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    call = helper.make_node(function.name, ["x", "scale"], ["y"], domain=function.domain)
    floats = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in (("x", [None]), ("scale", []))]
    graph = helper.make_graph([call], "body", floats, [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None])])
    opsets = [*function.opset_import, helper.make_opsetid(function.domain, 1)]
    model = helper.make_model(graph, opset_imports={o.domain: o for o in opsets}.values(), functions=[function])
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a body that overflows on a probe is judged by its result
            (got,) = ReferenceEvaluator(model).run(None, {"x": _POINTS, "scale": np.float32(scale)})
    except Exception as error:  # the evaluator raises whatever NumPy does; any failure means the body is not understood
        raise LabcError(f"{place}: its body cannot be evaluated ({type(error).__name__}); re-export with labc.train.export") from error
    return np.asarray(got)

/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the ops on scores. */
#include "check.h"

enum { STREAM_X = 2000, STREAM_S = 2001, STREAM_T = 2002 };

/* In [-1, 1) times 2^23 scale, with 23 random bits, so that products and sums round. */
static float random_float(const labc_check_case *c, uint32_t stream, uint32_t n, float scale)
{
    const int32_t any = (int32_t)(labc_check_random(c->seed + c->number, stream, n) >> 8) - (INT32_C(1) << 23);
    return (float)any * scale;
}

static int32_t x_of(const labc_check_case *c, uint32_t n)
{
    const int32_t most = (INT32_C(1) << 24) - 1;
    const uint32_t any = labc_check_random(c->seed + c->number, STREAM_X, n);
    switch (c->fill) {
    case LABC_CHECK_LEAST:
        return -most;
    case LABC_CHECK_MOST:
        return most;
    case LABC_CHECK_WALK:
        return c->round % 2 && n == c->number % c->rows ? 1 : 0;
    case LABC_CHECK_DIFFER:
        return n % 4 == 3 ? (int32_t)(any % 200) - 100 : (int32_t)(any % (uint32_t)(2 * most + 1)) - most;
    default:
        return (int32_t)(any % (uint32_t)(2 * most + 1)) - most;
    }
}

/*
 * random: scores around 1.   agree: all equal, so a tie.   differ: cancellation, and results among the subnormal numbers.
 * walk: zeros, some of which are -0, and in every other round one score that differs.   least, most: large.
 */
static void constants_of(const labc_check_case *c, uint32_t n, float *s, float *t)
{
    const int32_t x = x_of(c, n);
    switch (c->fill) {
    case LABC_CHECK_AGREE:
        *s = 0;
        *t = 1.5f;
        return;
    case LABC_CHECK_DIFFER:
        /* every other s is subnormal, below 2^-140, and every fourth x small enough for the product to be so too */
        *s = random_float(c, STREAM_S, n, 0x1p-43f);
        if (n % 2) {
            *s = (float)(labc_check_random(c->seed + c->number, STREAM_S, n) % 512) * 0x1p-149f;
        }
        *t = n % 4 == 3 ? random_float(c, STREAM_T, n, 0x1p-149f) : -((float)x * *s);
        return;
    case LABC_CHECK_WALK:
        *s = (n + c->round) % 3 ? -0.25f : 0.25f;
        *t = (n + c->round) % 2 ? -0.0f : 0.0f;
        return;
    case LABC_CHECK_LEAST:
    case LABC_CHECK_MOST:
        *s = random_float(c, STREAM_S, n, 0x1p77f);
        *t = random_float(c, STREAM_T, n, 0x1p103f);
        return;
    default:
        *s = random_float(c, STREAM_S, n, 0x1p-47f);
        *t = random_float(c, STREAM_T, n, 0x1p-23f);
    }
}

/* One multiplication, then one addition: each result is stored as a float before it is used. */
static float score_of(int32_t x, float s, float t)
{
    volatile float score = (float)x;
    score = score * s;
    score = score + t;
    return score;
}

/* ---- affine ---- */

typedef struct {
    labc_affine_fn *kernel;
    const int32_t *x;
    const float *s, *t;
    uint32_t rows;
    float *y;
} affine_call;

static void call_affine(void *context)
{
    const affine_call *a = context;
    a->kernel(a->x, a->s, a->t, a->rows, a->y);
}

static void constants(const labc_check_case *c, int32_t *x, float *s, float *t)
{
    for (uint32_t n = 0; n < c->rows; ++n) {
        x[n] = x_of(c, n);
        constants_of(c, n, &s[n], &t[n]);
    }
}

static uint32_t one_affine(const labc_check_case *c, void *context)
{
    affine_call *a = context;
    int32_t *x = labc_check_input(c, c->rows, sizeof *x);
    float *s = labc_check_input(c, c->rows, sizeof *s);
    float *t = labc_check_input(c, c->rows, sizeof *t);
    constants(c, x, s, t);
    a->x = x;
    a->s = s;
    a->t = t;
    a->rows = c->rows;
    a->y = labc_check_output(c, c->rows, sizeof *a->y);
    uint32_t finding = labc_check_run(c, call_affine, a);
    for (uint32_t n = 0; !finding && n < c->rows; ++n) {
        finding = labc_check_equal_float(c, n, a->y[n], score_of(x[n], s[n], t[n]));
    }
    return finding;
}

uint32_t labc_check_affine(const labc_check_row *row, labc_affine_fn *kernel, uint32_t seed, uint32_t *cases)
{
    affine_call a = {.kernel = kernel};
    return labc_check_cases(row, seed, 0, one_affine, &a, cases);
}

/* ---- affine_argmax ---- */

typedef struct {
    labc_affine_argmax_fn *kernel;
    const int32_t *x;
    const float *s, *t;
    uint32_t rows;
    uint32_t *y;
} argmax_call;

static void call_argmax(void *context)
{
    const argmax_call *a = context;
    a->kernel(a->x, a->s, a->t, a->rows, a->y);
}

static uint32_t one_argmax(const labc_check_case *c, void *context)
{
    argmax_call *a = context;
    int32_t *x = labc_check_input(c, c->rows, sizeof *x);
    float *s = labc_check_input(c, c->rows, sizeof *s);
    float *t = labc_check_input(c, c->rows, sizeof *t);
    uint32_t best = 0;
    constants(c, x, s, t);
    a->x = x;
    a->s = s;
    a->t = t;
    a->rows = c->rows;
    a->y = labc_check_output(c, 1, sizeof *a->y);
    const uint32_t finding = labc_check_run(c, call_argmax, a);
    if (finding) {
        return finding;
    }
    for (uint32_t n = 1; n < c->rows; ++n) {
        if (score_of(x[n], s[n], t[n]) > score_of(x[best], s[best], t[best])) {
            best = n;
        }
    }
    return labc_check_equal(c, 0, (int32_t)*a->y, (int32_t)best);
}

uint32_t labc_check_affine_argmax(const labc_check_row *row, labc_affine_argmax_fn *kernel, uint32_t seed, uint32_t *cases)
{
    argmax_call a = {.kernel = kernel};
    return labc_check_cases(row, seed, 0, one_argmax, &a, cases);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the ops on signs, element by element from the definition. */
#include "check.h"

/* sum over k of x_k w_nk */
static int32_t sum_of(const labc_check_case *c, uint32_t n)
{
    uint32_t x = 0, w = 0;
    int32_t sum = 0;
    for (uint32_t k = 0; k < c->inputs; ++k, x >>= 1, w >>= 1) {
        if (k % 32 == 0) {
            x = labc_check_x(c, k / 32);
            w = labc_check_w(c, n, k / 32);
        }
        sum += (x & 1) == (w & 1) ? 1 : -1; /* +1 * +1 and -1 * -1, or +1 * -1 and -1 * +1 */
    }
    return sum;
}

/* ---- sign_matvec_sums ---- */

typedef struct {
    labc_sign_matvec_sums_fn *kernel;
    const uint32_t *x, *w;
    uint32_t inputs, rows;
    int32_t *y;
} sums_call;

static void call_sums(void *context)
{
    const sums_call *a = context;
    a->kernel(a->x, a->w, a->inputs, a->rows, a->y);
}

static uint32_t one_sums(const labc_check_case *c, void *context)
{
    sums_call *a = context;
    a->x = labc_check_packed_x(c);
    a->w = labc_check_packed_w(c);
    a->inputs = c->inputs;
    a->rows = c->rows;
    a->y = labc_check_output(c, c->rows, sizeof *a->y);
    uint32_t finding = labc_check_run(c, call_sums, a);
    for (uint32_t n = 0; !finding && n < c->rows; ++n) {
        finding = labc_check_equal(c, n, a->y[n], sum_of(c, n));
    }
    return finding;
}

uint32_t labc_check_sign_matvec_sums(const labc_check_row *row, labc_sign_matvec_sums_fn *kernel, uint32_t seed, uint32_t *cases)
{
    sums_call a = {.kernel = kernel};
    return labc_check_cases(row, seed, 1, one_sums, &a, cases);
}

/* ---- sign_matvec_threshold ---- */

typedef struct {
    labc_sign_matvec_threshold_fn *kernel;
    const uint32_t *x, *w;
    const int32_t *limits;
    uint32_t inputs, rows;
    uint32_t *y;
} threshold_call;

static void call_threshold(void *context)
{
    const threshold_call *a = context;
    a->kernel(a->x, a->w, a->limits, a->inputs, a->rows, a->y);
}

/* A limit for a row with `differing` disagreements: just below, at and just above them, the two ends, and anything. */
static int32_t limit_of(const labc_check_case *c, uint32_t n, int32_t differing)
{
    const int32_t most = (int32_t)c->inputs;
    switch ((n + c->number) % 6) {
    case 0:
        return differing - 1;
    case 1:
        return differing;
    case 2:
        return differing < most ? differing + 1 : most;
    case 3:
        return -1;
    case 4:
        return most;
    default:
        return (int32_t)(labc_check_random(c->seed, c->number, n) % (c->inputs + 2)) - 1;
    }
}

static uint32_t one_threshold(const labc_check_case *c, void *context)
{
    threshold_call *a = context;
    uint8_t want[LABC_CHECK_MOST_ROWS];
    int32_t *limits = labc_check_input(c, c->rows, sizeof *limits);
    for (uint32_t n = 0; n < c->rows; ++n) {
        const int32_t differing = ((int32_t)c->inputs - sum_of(c, n)) / 2;
        limits[n] = limit_of(c, n, differing);
        want[n] = differing <= limits[n] ? 1 : 0;
    }
    a->x = labc_check_packed_x(c);
    a->w = labc_check_packed_w(c);
    a->limits = limits;
    a->inputs = c->inputs;
    a->rows = c->rows;
    a->y = labc_check_output(c, (c->rows + 31) / 32, sizeof *a->y);
    const uint32_t finding = labc_check_run(c, call_threshold, a);
    return finding ? finding : labc_check_equal_signs(c, a->y, want);
}

uint32_t labc_check_sign_matvec_threshold(const labc_check_row *row, labc_sign_matvec_threshold_fn *kernel, uint32_t seed, uint32_t *cases)
{
    threshold_call a = {.kernel = kernel};
    return labc_check_cases(row, seed, 1, one_threshold, &a, cases);
}

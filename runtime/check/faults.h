/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels with one planted fault each, in ops on images; two are sound, or the others would prove nothing. */
#ifndef LABC_CHECK_FAULTS_H
#define LABC_CHECK_FAULTS_H

#include "check.h"

labc_sign_conv_sums_fn conv, conv_border_counted, conv_stride_as_dilation, conv_wrong_tail, conv_dense_taps, conv_read_past_x,
    conv_write_past_end, conv_swapped_axes, conv_changed_window;
labc_sign_conv_threshold_fn conv_threshold_no_border, conv_threshold_dirty_tail;
labc_byte_conv_sums_fn byte_conv, byte_conv_border_is_offset, byte_conv_filled_taps, byte_conv_16_bit;
labc_byte_conv_requantize_fn byte_conv_unclamped;
labc_sign_depthwise_sums_fn depthwise_modulo;
labc_sign_depthwise_threshold_fn depthwise_3_bit;
labc_sign_max_pool_fn pool_without_flips, pool_border_is_minus;
labc_byte_max_pool_fn byte_pool_unsigned;
labc_word_max_pool_fn word_pool_from_zero;
labc_sum_add_pool_fn add_pool_16_bit;
labc_sum_threshold_fn threshold_flip_all, threshold_ones_behind;
labc_sum_requantize_word_fn word_toward_zero;
labc_word_add_fn add_unsaturated, add_in_fours, add_aligned_pairs, add_not_in_place;
labc_word_prelu_fn prelu_toward_zero, prelu_most;
labc_sign_join_fn join_by_words;
labc_sign_slice_fn slice_reads_ahead;
labc_byte_slice_fn slice_all_of_a_pixel;
labc_sign_pad_fn pad_dirty_tail;

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The service `echo`: llrph.Echo/Echo returns its payload. It is not declared idempotent, so that
 * at most once can be seen.
 */
#ifndef LLR_SERVICE_ECHO_H
#define LLR_SERVICE_ECHO_H

#include <llrph/service.h>

extern const struct llrph_service llr_service_echo;

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The services that are built in, by name.
 */
#ifndef LLR_SERVICE_BUILTIN_H
#define LLR_SERVICE_BUILTIN_H

#include <llrph/service.h>

/* The built-in service of that name; NULL: there is none. */
const struct llrph_service *llr_builtin_service(const char *name);
/* The nth one, from 0, for lists in help texts; NULL: there are not so many. */
const struct llrph_service *llr_builtin_service_at(unsigned int index);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The list of built-in services. Thread: any; constant.
 */
#include "service/builtin.h"

#include "service/book_service.h"
#include "service/echo.h"

#include <string.h>

static const struct llrph_service *const services[] = {
	&llr_service_echo,
	&llr_service_book,
};

#define SERVICE_COUNT (sizeof(services) / sizeof(services[0]))

const struct llrph_service *llr_builtin_service(const char *name)
{
	for (unsigned int i = 0; i < SERVICE_COUNT; i++) {
		if (strcmp(services[i]->name, name) == 0)
			return services[i];
	}
	return NULL;
}

const struct llrph_service *llr_builtin_service_at(unsigned int index)
{
	return index < SERVICE_COUNT ? services[index] : NULL;
}

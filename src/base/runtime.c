/* SPDX-License-Identifier: MIT */
/*
 * The runtime folder. Owns nothing; reads the environment at each call.
 *
 * A name becomes part of a path, so it is letters, digits and "._-" alone and starts with none of
 * the latter: nothing that a user types leads out of the folder.
 *
 * Thread: set-up's.
 */
#include "base/runtime.h"

#include "base/assert.h"
#include "base/log.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
static const char others[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

static int check_name(const char *name, struct llrph_error *error)
{
	size_t size = strlen(name);

	if (size > LLR_NAME_SIZE_MAX)
		return llr_error_set(error, -EINVAL, "name of %zu characters: %u are the most",
				     size, LLR_NAME_SIZE_MAX);
	if (size == 0 || strspn(name, letters) == 0 || strspn(name, others) != size)
		return llr_error_set(error, -EINVAL,
				     "'%s' is no name: use letters, digits, '.', '_' and '-', "
				     "starting with a letter or digit",
				     name);
	return 0;
}

static bool is_set(const char *value)
{
	return value != NULL && value[0] != '\0';
}

static int find_folder(char *folder, size_t size, struct llrph_error *error)
{
	const char *own = getenv("LLRPH_RUNTIME_DIR");
	const char *session = getenv("XDG_RUNTIME_DIR");
	int written;

	if (is_set(own))
		written = snprintf(folder, size, "%s", own);
	else if (geteuid() == 0)
		written = snprintf(folder, size, "/run/llrph");
	else if (is_set(session))
		written = snprintf(folder, size, "%s/llrph", session);
	else
		return llr_error_set(error, -ENOENT,
				     "no runtime folder: set LLRPH_RUNTIME_DIR to a folder of "
				     "yours, the same for server and clients");
	if (written < 0 || (size_t)written >= size)
		return llr_error_set(error, -ENAMETOOLONG,
				     "the runtime folder's path is too long: set "
				     "LLRPH_RUNTIME_DIR to a shorter one");
	return 0;
}

static int make_folder(const char *folder, struct llrph_error *error)
{
	struct stat status;
	int code;

	if (mkdir(folder, 0755) == 0)
		return 0;
	code = -errno;
	if (code == -EEXIST) {
		if (stat(folder, &status) == 0 && S_ISDIR(status.st_mode))
			return 0;
		return llr_error_set(error, -ENOTDIR,
				     "runtime folder %s is no folder: remove it, or set "
				     "LLRPH_RUNTIME_DIR to another",
				     folder);
	}
	return llr_error_set(error, code,
			     "can't make the runtime folder %s: %s; make it, or set "
			     "LLRPH_RUNTIME_DIR to a folder of yours",
			     folder, strerror(-code));
}

int llr_runtime_path(char *path, size_t size, const char *name, const char *suffix,
		     struct llrph_error *error)
{
	char folder[PATH_MAX];
	int written;
	int code;

	LLR_ASSERT(path != NULL);
	LLR_ASSERT(name != NULL);
	LLR_ASSERT(suffix != NULL);
	code = check_name(name, error);
	if (code == 0)
		code = find_folder(folder, sizeof(folder), error);
	if (code == 0)
		code = make_folder(folder, error);
	if (code != 0)
		return code;
	written = snprintf(path, size, "%s/%s%s", folder, name, suffix);
	if (written < 0 || (size_t)written >= size)
		return llr_error_set(error, -ENAMETOOLONG,
				     "%.80s.../%s%s is longer than the %zu characters there is "
				     "room for: set LLRPH_RUNTIME_DIR to a shorter path",
				     folder, name, suffix, size - 1);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * What an engine refuses before it starts: services that make no sense, methods that can't be told
 * apart, too many of anything, options out of range; and that it says which.
 */
#include <llrph/engine.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* FNV-1a, 32 bits, of both is 1fff061e. */
#define TWIN_A "test.Twin/lfbpf"
#define TWIN_B "test.Twin/voczp"

static struct llrph_engine *engine;
static struct llrph_error error;
static int closed;

static int handler(struct llrph_call *call, void *state)
{
	(void)call;
	(void)state;
	return LLRPH_STATUS_OK;
}

static int fail_open(void **state, const char *options, struct llrph_error *why)
{
	(void)state;
	(void)snprintf(why->text, sizeof(why->text), "no %s here", options);
	return -ENOENT;
}

static void count_close(void *state)
{
	(void)state;
	closed++;
}

static const struct llrph_method one[] = {{.name = "test.One/Do", .handler = handler}};

/* The engine borrows services until it is closed, after the test's end. */
static struct llrph_service services[20];
static unsigned int service_count;

static struct llrph_service *service_of(const struct llrph_method *methods, uint32_t count)
{
	services[service_count] = (struct llrph_service){.abi = LLRPH_SERVICE_ABI,
							 .size = sizeof(struct llrph_service),
							 .name = "test",
							 .method_count = count,
							 .methods = methods,
							 .close = count_close};

	return &services[service_count++];
}

static int setup(void **state)
{
	struct llrph_engine_options options = {.size = sizeof(options),
					       .sessions_max = 1,
					       .lanes_max = 1,
					       .session_memory = 65536};

	(void)state;
	memset(&error, 0, sizeof(error));
	closed = 0;
	service_count = 0;
	return llrph_engine_open(&engine, &options, &error);
}

static int teardown(void **state)
{
	(void)state;
	llrph_engine_close(engine);
	return 0;
}

static void expect(int code, int expected, const char *part)
{
	assert_int_equal(code, expected);
	if (strstr(error.text, part) == NULL)
		fail_msg("'%s' does not say '%s'", error.text, part);
	assert_null(strchr(error.text, '\n'));
}

static void test_twins(void **state)
{
	static const struct llrph_method twins[] = {{.name = TWIN_A, .handler = handler},
						    {.name = TWIN_B, .handler = handler}};
	struct llrph_service *service = service_of(twins, 2);

	(void)state;
	assert_int_equal(llrph_route(TWIN_A), llrph_route(TWIN_B));
	expect(llrph_engine_register(engine, service, NULL, &error), -EEXIST, TWIN_A);
	expect(-EEXIST, -EEXIST, TWIN_B);
	assert_int_equal(closed, 1);
}

static void test_twins_of_two_services(void **state)
{
	static const struct llrph_method twins[] = {{.name = TWIN_A, .handler = handler},
						    {.name = TWIN_B, .handler = handler}};
	struct llrph_service *first = service_of(&twins[0], 1);
	struct llrph_service *second = service_of(&twins[1], 1);

	(void)state;
	assert_int_equal(llrph_engine_register(engine, first, NULL, &error), 0);
	expect(llrph_engine_register(engine, second, NULL, &error), -EEXIST, TWIN_A);
	expect(-EEXIST, -EEXIST, TWIN_B);
	expect(llrph_engine_register(engine, first, NULL, &error), -EEXIST, TWIN_A);
}

static void test_malformed(void **state)
{
	static const struct llrph_method no_handler[] = {
		{.name = "test.One/Do", .handler = handler}, {.name = "test.One/Not"}};
	static const struct llrph_method no_name[] = {{.handler = handler}};
	struct llrph_service *service = service_of(one, 1);

	(void)state;
	service->abi = LLRPH_SERVICE_ABI + 1;
	expect(llrph_engine_register(engine, service, NULL, &error), -EINVAL, "ABI 2, here 1");
	service = service_of(one, 1);
	service->size = 8;
	expect(llrph_engine_register(engine, service, NULL, &error), -EINVAL, "rebuild");
	service = service_of(one, 1);
	service->name = NULL;
	expect(llrph_engine_register(engine, service, NULL, &error), -EINVAL, "without a name");
	service = service_of(NULL, 1);
	expect(llrph_engine_register(engine, service, NULL, &error), -EINVAL, "methods");
	service = service_of(one, 0);
	expect(llrph_engine_register(engine, service, NULL, &error), -EINVAL, "0 methods");
	service = service_of(one, 257);
	expect(llrph_engine_register(engine, service, NULL, &error), -EINVAL, "257 methods");
	service = service_of(one, 1);
	service->state_kind = LLRPH_STATE_SINGLE + 1;
	expect(llrph_engine_register(engine, service, NULL, &error), -EINVAL, "state_kind");
	service = service_of(no_handler, 2);
	expect(llrph_engine_register(engine, service, NULL, &error), -EINVAL, "method 1");
	service = service_of(no_name, 1);
	expect(llrph_engine_register(engine, service, NULL, &error), -EINVAL, "method 0");
	assert_int_equal(closed, 0);
	/* After all of that it takes one that is right. */
	service = service_of(one, 1);
	assert_int_equal(llrph_engine_register(engine, service, NULL, NULL), 0);
}

static void test_open_fails(void **state)
{
	struct llrph_service *service = service_of(one, 1);

	(void)state;
	service->open = fail_open;
	expect(llrph_engine_register(engine, service, "bread", &error), -ENOENT, "no bread here");
	assert_int_equal(closed, 0);
	assert_int_equal(llrph_engine_register(engine, service, "bread", NULL), -ENOENT);
}

static void test_too_many_methods(void **state)
{
	static char names[257][32];
	static struct llrph_method many[257];
	struct llrph_service *most = service_of(many, 256);
	struct llrph_service *more = service_of(&many[256], 1);

	(void)state;
	for (unsigned int i = 0; i < 257; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "test.Many/M%u", i);
		many[i] = (struct llrph_method){.name = names[i], .handler = handler};
	}
	assert_int_equal(llrph_engine_register(engine, most, NULL, &error), 0);
	expect(llrph_engine_register(engine, more, NULL, &error), -ENOMEM, "256 methods");
}

static void test_too_many_services(void **state)
{
	static char names[17][32];
	static struct llrph_method methods[17];

	(void)state;
	for (unsigned int i = 0; i < 17; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "test.S%u/Do", i);
		methods[i] = (struct llrph_method){.name = names[i], .handler = handler};
		if (i < 16)
			assert_int_equal(llrph_engine_register(engine, service_of(&methods[i], 1),
							       NULL, &error),
					 0);
	}
	expect(llrph_engine_register(engine, service_of(&methods[16], 1), NULL, &error), -ENOMEM,
	       "16 services");
}

static void test_nothing_to_start(void **state)
{
	struct llrph_service *service = service_of(one, 1);

	(void)state;
	expect(llrph_engine_start(engine, &error), -EINVAL, "listen on one first");
	assert_int_equal(llrph_engine_listen(engine, "udp:127.0.0.1:0", &error), 0);
	expect(llrph_engine_start(engine, &error), -EINVAL, "register one first");
	assert_int_equal(llrph_engine_register(engine, service, NULL, &error), 0);
	assert_non_null(llrph_engine_endpoint(engine, 0));
	assert_null(llrph_engine_endpoint(engine, 1));
}

static void test_options(void **state)
{
	struct llrph_engine *none = NULL;
	struct llrph_engine_options options = {.size = sizeof(options)};

	(void)state;
	options.window_max = 1025;
	expect(llrph_engine_open(&none, &options, &error), -EINVAL, "window 1025");
	options.window_max = 0;
	options.max_message = (16U << 20) + 1;
	expect(llrph_engine_open(&none, &options, &error), -EINVAL, "max-message");
	options.max_message = 0;
	options.sessions_max = 65536;
	expect(llrph_engine_open(&none, &options, &error), -EINVAL, "65536");
	options.sessions_max = 0;
	options.connections_max = 65537;
	expect(llrph_engine_open(&none, &options, &error), -EINVAL, "65536");
	options.connections_max = 0;
	options.allow = "10.0.0.0/40";
	expect(llrph_engine_open(&none, &options, &error), -EINVAL, "10.0.0.0/40");
	options.allow = NULL;
	options.name = "a-name-of-more-than-forty-eight-bytes-is-too-long-for-a-file";
	expect(llrph_engine_open(&none, &options, &error), -EINVAL, "48 bytes");
	options.name = NULL;
	options.size = sizeof(options) + 8;
	expect(llrph_engine_open(&none, &options, &error), -EINVAL, "size");
	options.size = 4;
	expect(llrph_engine_open(&none, &options, &error), -EINVAL, "size");
	assert_null(none);
	/* An older program's struct: what it does not have is the default. */
	options.size = offsetof(struct llrph_engine_options, sessions_max);
	assert_int_equal(llrph_engine_open(&none, &options, &error), 0);
	llrph_engine_close(none);
	llrph_engine_close(NULL);
}

int main(void)
{
#define WITH_ENGINE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_ENGINE(test_twins),
		WITH_ENGINE(test_twins_of_two_services),
		WITH_ENGINE(test_malformed),
		WITH_ENGINE(test_open_fails),
		WITH_ENGINE(test_too_many_methods),
		WITH_ENGINE(test_too_many_services),
		WITH_ENGINE(test_nothing_to_start),
		cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

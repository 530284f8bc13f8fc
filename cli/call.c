/* SPDX-License-Identifier: MIT */
/*
 * llrph call: sends one request. The reply's payload goes to standard output as it is, status and
 * timings to standard error; or everything as one JSON object to standard output.
 *
 * Thread: the process's only one. Owns the request's payload and its client.
 */
#include "cli.h"

#include "base/limits.h"
#include "base/text.h"

#include <llrph/client.h>
#include <llrph/service.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NS_EACH_MS         UINT64_C(1000000)
#define TIMEOUT_DEFAULT_NS (5000 * NS_EACH_MS)

struct plan {
	const char *uris;   /* borrows from argv */
	const char *method; /* borrows from argv */
	const char *data;   /* borrows from argv; at most one of these three is set */
	const char *text;   /* borrows from argv */
	const char *hex;    /* borrows from argv */
	uint64_t timeout_ns;
	unsigned int flags; /* enum llrph_request_flag */
	unsigned int idle;  /* enum llrph_idle */
	int json;
};

struct payload {
	uint8_t *bytes; /* owns; NULL: none */
	uint32_t size;
};

static const char help_text[] =
	"usage: llrph call URI[,URI...] METHOD [--data FILE | --text STRING | --hex STRING]\n"
	"                  [--timeout MS] [--idempotent] [--idle spin|park] [--json]\n"
	"\n"
	"Sends one request and writes the payload of its reply to standard output, byte for byte,\n"
	"whatever the status. Status and timings go to standard error. Of several endpoints the\n"
	"next one is tried when one is dead.\n"
	"\n"
	"  --data FILE      the payload is what FILE holds; -: standard input\n"
	"  --text STRING    the payload is STRING itself\n"
	"  --hex STRING     the payload is the bytes that pairs of hexadecimal digits give\n"
	"  --timeout MS     how long to wait for a server, and then for the reply; default 5000\n"
	"  --idempotent     it may run more than once: it is sent again where that is in doubt\n"
	"  --idle WORD      spin: never sleep; park (the default): spin shortly, then sleep\n"
	"  --json           one object on standard output: endpoint, method, status, reason,\n"
	"                   service_ns, queue_ns, latency_ns, attempts, size, payload (lower-case\n"
	"                   hexadecimal digits); without a reply: status 0, and error\n"
	"\n"
	"Exit status: 0 answered 2xx, 1 answered otherwise or not at all, 2 wrong usage.\n"
	"Endpoints are shm:NAME, udp:HOST:PORT and tcp:HOST:PORT. See llrph-call(1).\n";

static int read_timeout(struct plan *plan)
{
	static const struct llr_cli_span span = {
		.unit_ns = NS_EACH_MS,
		.min_ns = 1000,
		.max_ns = 3600000 * NS_EACH_MS,
	};

	return llr_cli_parse_duration("--timeout", optarg, &span, &plan->timeout_ns);
}

static int read_idle(struct plan *plan)
{
	static const char *const words[] = {
		[LLRPH_IDLE_PARK] = "park", [LLRPH_IDLE_SPIN] = "spin", NULL};

	return llr_cli_parse_word("--idle", optarg, words, &plan->idle);
}

/* 0; -1: nothing more to do; else an exit status. */
static int read_option(struct plan *plan, int option)
{
	switch (option) {
	case 'd':
		plan->data = optarg;
		return 0;
	case 'x':
		plan->hex = optarg;
		return 0;
	case 't':
		plan->text = optarg;
		return 0;
	case 'm':
		return read_timeout(plan);
	case 'i':
		plan->flags |= LLRPH_REQUEST_IDEMPOTENT;
		return 0;
	case 'w':
		return read_idle(plan);
	case 'j':
		plan->json = 1;
		return 0;
	case 'h':
		(void)fputs(help_text, stdout);
		return -1;
	default:
		return LLR_CLI_USAGE;
	}
}

static int read_options(struct plan *plan, int argc, char **argv)
{
	static const struct option options[] = {
		{"data", required_argument, NULL, 'd'}, {"text", required_argument, NULL, 't'},
		{"hex", required_argument, NULL, 'x'},  {"timeout", required_argument, NULL, 'm'},
		{"idempotent", no_argument, NULL, 'i'}, {"idle", required_argument, NULL, 'w'},
		{"json", no_argument, NULL, 'j'},       {0},
	};
	int option;

	while ((option = llr_cli_option(argc, argv, options)) != -1) {
		int code = read_option(plan, option);

		if (code != 0)
			return code;
	}
	if (argc - optind < 2)
		return llr_cli_wrong("give an endpoint and a method, as in "
				     "llrph call shm:demo llrph.Echo/Echo");
	if (argc - optind > 2)
		return llr_cli_wrong("'%s' is too much: one endpoint (or several with commas "
				     "between) and one method are enough",
				     argv[optind + 2]);
	if ((plan->data != NULL) + (plan->text != NULL) + (plan->hex != NULL) > 1)
		return llr_cli_wrong("give one of --data, --text and --hex");
	plan->uris = argv[optind];
	plan->method = argv[optind + 1];
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int load_hex(struct payload *payload, const char *hex)
{
	size_t count = strlen(hex);

	if (count % 2 != 0)
		return llr_cli_wrong("--hex has an odd number of digits: each byte takes two");
	if (count / 2 > LLR_PAYLOAD_SIZE_MAX)
		return llr_cli_wrong("--hex is longer than a message may be");
	payload->bytes = malloc(count / 2 + 1);
	if (payload->bytes == NULL)
		return llr_cli_fail("no memory for a payload of %zu bytes", count / 2);
	for (size_t i = 0; i < count; i += 2) {
		int high = hex_digit(hex[i]);
		int low = hex_digit(hex[i + 1]);

		if (high < 0 || low < 0)
			return llr_cli_wrong("--hex: '%.2s' is no byte: use digits 0-9 and a-f",
					     hex + i);
		payload->bytes[i / 2] = (uint8_t)(high * 16 + low);
	}
	payload->size = (uint32_t)(count / 2);
	return 0;
}

static int load_text(struct payload *payload, const char *text)
{
	size_t size = strlen(text);

	if (size > LLR_PAYLOAD_SIZE_MAX)
		return llr_cli_wrong("--text is longer than a message may be");
	payload->bytes = malloc(size + 1);
	if (payload->bytes == NULL)
		return llr_cli_fail("no memory for a payload of %zu bytes", size);
	memcpy(payload->bytes, text, size);
	payload->size = (uint32_t)size;
	return 0;
}

/* Reads to the end, one byte more than fits at most. */
static int read_all(struct payload *payload, int fd, const char *path)
{
	size_t size = 0;
	ssize_t count;

	payload->bytes = malloc(LLR_PAYLOAD_SIZE_MAX + 1U);
	if (payload->bytes == NULL)
		return llr_cli_fail("no memory for a payload of up to %u bytes",
				    LLR_PAYLOAD_SIZE_MAX);
	do {
		count = read(fd, payload->bytes + size, LLR_PAYLOAD_SIZE_MAX + 1U - size);
		if (count < 0 && errno != EINTR)
			return llr_cli_fail("can't read --data %s: %s", path, strerror(errno));
		size += count > 0 ? (size_t)count : 0;
	} while (count != 0 && size <= LLR_PAYLOAD_SIZE_MAX);
	if (size > LLR_PAYLOAD_SIZE_MAX)
		return llr_cli_fail("--data %s is larger than a message may be: at most %u bytes",
				    path, LLR_PAYLOAD_SIZE_MAX);
	payload->size = (uint32_t)size;
	return 0;
}

static int load_file(struct payload *payload, const char *path)
{
	int code;
	int fd;

	if (strcmp(path, "-") == 0)
		return read_all(payload, STDIN_FILENO, "-");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return llr_cli_fail("can't open --data %s: %s", path, strerror(errno));
	code = read_all(payload, fd, path);
	(void)close(fd);
	return code;
}

static int load(struct payload *payload, const struct plan *plan)
{
	if (plan->data != NULL)
		return load_file(payload, plan->data);
	if (plan->text != NULL)
		return load_text(payload, plan->text);
	if (plan->hex != NULL)
		return load_hex(payload, plan->hex);
	return 0;
}

/* endpoint: NULL if there is none any more, or never was. */
static void print_json(const struct plan *plan, const char *endpoint,
		       const struct llrph_completion *reply)
{
	const uint8_t *bytes = reply->payload;

	(void)fputs("{\"endpoint\": ", stdout);
	llr_text_put_json(stdout, endpoint != NULL ? endpoint : plan->uris);
	(void)fputs(", \"method\": ", stdout);
	llr_text_put_json(stdout, plan->method);
	(void)printf(", \"status\": %u, \"reason\": ", reply->status);
	llr_text_put_json(stdout, reply->error == 0 ? llrph_status_text(reply->status)
						    : llrph_strerror(reply->error));
	if (reply->error != 0)
		(void)printf(", \"error\": %d", reply->error);
	(void)printf(", \"service_ns\": %" PRIu32 ", \"queue_ns\": %" PRIu32
		     ", \"latency_ns\": %" PRIu64 ", \"attempts\": %" PRIu32 ", \"size\": %" PRIu32
		     ", \"payload\": \"",
		     reply->service_ns, reply->queue_ns, reply->latency_ns, reply->attempts,
		     reply->size);
	for (uint32_t i = 0; i < reply->size; i++)
		(void)printf("%02x", bytes[i]);
	(void)fputs("\"}\n", stdout);
}

static void print_timings(const struct llrph_completion *reply)
{
	(void)fprintf(stderr, "llrph call: %u %s: %" PRIu32 " bytes in %.1f us", reply->status,
		      llrph_status_text(reply->status), reply->size,
		      (double)reply->latency_ns / 1e3);
	if (reply->status == LLRPH_STATUS_REFUSED || reply->status == LLRPH_STATUS_UNAVAILABLE)
		(void)fprintf(stderr, ", try again in %" PRIu32 " us", reply->queue_ns);
	else
		(void)fprintf(stderr, ", handler %.1f us, queue %.1f us",
			      (double)reply->service_ns / 1e3, (double)reply->queue_ns / 1e3);
	if (reply->attempts > 1)
		(void)fprintf(stderr, ", sent %" PRIu32 " times", reply->attempts);
	(void)fputc('\n', stderr);
}

static int print_reply(const struct plan *plan, const struct llrph_client *client,
		       const struct llrph_completion *reply)
{
	struct llrph_client_info info = {.size = sizeof(info)};

	llrph_client_info(client, &info);
	if (plan->json)
		print_json(plan, info.endpoint, reply);
	else if (reply->error == 0 && reply->size > 0)
		(void)fwrite(reply->payload, 1, reply->size, stdout);
	if (fflush(stdout) != 0 || ferror(stdout))
		return llr_cli_fail("can't write to standard output: %s", strerror(errno));
	if (reply->error == LLRPH_E_TOO_LARGE)
		return llr_cli_fail("%s: the server takes less; see its --max-message",
				    llrph_strerror(reply->error));
	if (reply->error != 0)
		return llr_cli_fail("%s", llrph_strerror(reply->error));
	if (!plan->json)
		print_timings(reply);
	return reply->status / 100 == 2 ? LLR_CLI_DONE : LLR_CLI_FAILED;
}

static int run(const struct plan *plan, const struct payload *payload)
{
	const struct llrph_client_options options = {
		.size = sizeof(options),
		.window = 1,
		.max_message = LLR_PAYLOAD_SIZE_MAX,
		.idle = plan->idle,
		.connect_ns = plan->timeout_ns,
	};
	struct llrph_completion reply = {0};
	struct llrph_error error = {""};
	struct llrph_client *client;
	int code;

	reply.error = llrph_client_open(&client, plan->uris, &options, &error);
	if (reply.error != 0) {
		if (plan->json)
			print_json(plan, NULL, &reply);
		return llr_cli_fail("%s", error.text);
	}
	(void)llrph_call_sync(client, llrph_route(plan->method), payload->bytes, payload->size,
			      plan->flags, plan->timeout_ns, &reply);
	code = print_reply(plan, client, &reply);
	llrph_client_close(client);
	return code;
}

int llr_cli_call(int argc, char **argv)
{
	struct plan plan = {.timeout_ns = TIMEOUT_DEFAULT_NS, .idle = LLRPH_IDLE_PARK};
	struct payload payload = {0};
	int code = read_options(&plan, argc, argv);

	if (code != 0)
		return code < 0 ? LLR_CLI_DONE : code;
	code = load(&payload, &plan);
	if (code == 0)
		code = run(&plan, &payload);
	free(payload.bytes);
	return code;
}

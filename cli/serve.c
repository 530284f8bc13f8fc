/* SPDX-License-Identifier: MIT */
/*
 * llrph serve: reads what is asked for, finds the services, and becomes the supervisor.
 *
 * Options come from the table of engine/config.h, so that the command line, the file and --help
 * know the same ones. The file is read first, since what is typed wins.
 *
 * Thread: the process's only one. Owns the configuration and the loaded services.
 */
#include "cli.h"

#include "base/assert.h"
#include "engine/config.h"
#include "engine/plugin.h"
#include "engine/supervisor.h"
#include "service/builtin.h"

#include <stdio.h>
#include <string.h>

#define HELP_COLUMN 34

static struct llr_config config;
static struct llr_plugin plugins[LLR_SERVICES_MAX];

static int print_help(void)
{
	const struct llr_config_option *options;
	unsigned int count = llr_config_options(&options);
	char left[64];

	(void)printf(
		"usage: llrph serve --listen URI... --service NAME|PATH.so[:OPTIONS]... "
		"[options]\n\n"
		"Serves requests until SIGTERM or SIGINT, which lets those inside finish;\n"
		"a second one ends it at once. Prints \"llrph: ready URI\" for each endpoint.\n\n");
	for (unsigned int i = 0; i < count; i++) {
		(void)snprintf(left, sizeof(left), "--%s%s%s", options[i].name,
			       options[i].argument == NULL ? "" : " ",
			       options[i].argument == NULL ? "" : options[i].argument);
		(void)printf("  %-*s %s\n", HELP_COLUMN, left, options[i].help);
	}
	(void)printf("  %-*s %s\n\n", HELP_COLUMN, "--help", "print this");
	(void)printf("FILE has a section [server] with lines like `listen = udp:127.0.0.1:7000`;\n"
		     "options without an argument take yes or no. Sockets that systemd hands down\n"
		     "are served too. Built-in services:");
	for (unsigned int i = 0; llr_builtin_service_at(i) != NULL; i++)
		(void)printf("%s %s", i == 0 ? "" : ",", llr_builtin_service_at(i)->name);
	(void)printf(".\nSockets and stats pages lie in $LLRPH_RUNTIME_DIR, else /run/llrph for "
		     "root,\nelse $XDG_RUNTIME_DIR/llrph.\n");
	return LLR_CLI_DONE;
}

/* getopt's table: val is the place in llr_config_options, plus 1000: no character's. */
enum { OPTION_BASE = 1000 };

static void fill_options(struct option *table)
{
	const struct llr_config_option *options;
	unsigned int count = llr_config_options(&options);

	LLR_ASSERT(count <= LLR_CONFIG_OPTIONS_MAX);
	for (unsigned int i = 0; i < count; i++)
		table[i] = (struct option){
			.name = options[i].name,
			.has_arg = options[i].argument == NULL ? no_argument : required_argument,
			.val = OPTION_BASE + (int)i};
	table[count] = (struct option){.name = NULL};
}

/* First round: sees that all words are options, and finds the file. 0, 'h' for help, or an exit. */
static int find_file(int argc, char **argv, const struct option *table, const char **file)
{
	int option;

	while ((option = llr_cli_option(argc, argv, table)) != -1) {
		if (option == 'h')
			return 'h';
		if (option == '?')
			return LLR_CLI_USAGE;
		if (strcmp(table[option - OPTION_BASE].name, "config") == 0)
			*file = optarg;
	}
	if (optind < argc)
		return llr_cli_wrong("'%s' is no option: endpoints go after --listen, services "
				     "after --service",
				     argv[optind]);
	return 0;
}

/* Second round: what was typed. */
static int read_typed(int argc, char **argv, const struct option *table)
{
	struct llrph_error error = {.text = ""};
	int option;

	optind = 0;
	while ((option = llr_cli_option(argc, argv, table)) != -1) {
		LLR_ASSERT(option >= OPTION_BASE); /* the first round saw the others */
		if (llr_config_set(&config, table[option - OPTION_BASE].name, optarg, &error) != 0)
			return llr_cli_wrong("%s", error.text);
	}
	return 0;
}

static int load_services(void)
{
	struct llrph_error error = {.text = ""};

	for (unsigned int i = 0; i < config.service_count; i++)
		if (llr_plugin_load(&plugins[i], config.services[i], llr_builtin_service_at,
				    &error) != 0)
			return llr_cli_wrong("%s", error.text);
	return 0;
}

int llr_cli_serve(int argc, char **argv)
{
	struct option table[LLR_CONFIG_OPTIONS_MAX + 1];
	struct llrph_error error = {.text = ""};
	const char *file = NULL;
	int code;

	fill_options(table);
	code = find_file(argc, argv, table, &file);
	if (code == 'h')
		return print_help();
	if (code != 0)
		return code;
	llr_config_init(&config);
	if (file != NULL && llr_config_read_file(&config, file, &error) != 0)
		return llr_cli_wrong("%s", error.text);
	code = read_typed(argc, argv, table);
	if (code != 0)
		return code;
	if (llr_config_check(&config, &error) != 0)
		return llr_cli_wrong("%s", error.text);
	code = load_services();
	if (code != 0)
		return code;

	code = llr_supervise(&config, plugins, &error);
	if (code == -EINVAL)
		return llr_cli_wrong("%s", error.text);
	return code == 0 ? LLR_CLI_DONE : llr_cli_fail("%s", error.text);
}

/* SPDX-License-Identifier: MIT */
/*
 * Printing text that came from outside. Any thread; owns nothing.
 *
 * Invariant: what is printed is valid UTF-8 (RFC 3629) and holds no control character, neither
 * ASCII's nor U+0080..U+009F, which some terminals obey as well.
 */
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

#define NOT_UTF8 UINT32_C(0xffffffff)

/* Decodes the character at *text, which is not the end, and moves on by it; or by one byte. */
static uint32_t next_character(const char **text)
{
	const uint8_t *bytes = (const uint8_t *)*text;
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	uint32_t character = bytes[0];
	unsigned int more;

	*text += 1;
	if (character < 0x80)
		return character;
	if (character >= 0xc2 && character < 0xe0)
		more = 1;
	else if (character >= 0xe0 && character < 0xf0)
		more = 2;
	else if (character >= 0xf0 && character < 0xf5)
		more = 3;
	else
		return NOT_UTF8;
	character &= 0x3fU >> more;
	for (unsigned int i = 1; i <= more; i++) {
		/* The NUL at the end fails here too. */
		if ((bytes[i] & 0xc0) != 0x80)
			return NOT_UTF8;
		character = character << 6 | (bytes[i] & 0x3fU);
	}
	if (character < least[more] || character > 0x10ffff ||
	    (character >= 0xd800 && character < 0xe000))
		return NOT_UTF8;
	*text += more;
	return character;
}

static bool is_control(uint32_t character)
{
	return character < 0x20 || (character >= 0x7f && character < 0xa0);
}

void llr_text_put(FILE *out, const char *text)
{
	while (*text != '\0') {
		const char *from = text;
		uint32_t character = next_character(&text);

		if (character == NOT_UTF8 || is_control(character))
			(void)fputc('?', out);
		else
			(void)fwrite(from, 1, (size_t)(text - from), out);
	}
}

void llr_text_put_json(FILE *out, const char *text)
{
	(void)fputc('"', out);
	while (*text != '\0') {
		const char *from = text;
		uint32_t character = next_character(&text);

		if (character == NOT_UTF8)
			(void)fputs("\\ufffd", out);
		else if (is_control(character))
			(void)fprintf(out, "\\u%04x", character);
		else if (character == '"' || character == '\\')
			(void)fprintf(out, "\\%c", (char)character);
		else
			(void)fwrite(from, 1, (size_t)(text - from), out);
	}
	(void)fputc('"', out);
}

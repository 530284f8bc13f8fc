/* SPDX-License-Identifier: MIT */
/*
 * Decoding of ITCH 5.0 messages. Pure: any thread, no state beyond constant tables.
 *
 * The length is checked against the type's before any field is read, so no field needs a check of
 * its own.
 */
#include "service/itch.h"

#include "base/assert.h"
#include "base/bytes.h"

#define FIELD_LOCATE         1
#define FIELD_REFERENCE      11
#define FIELD_SIDE           19 /* A F */
#define FIELD_ADD_SHARES     20 /* A F */
#define FIELD_ADD_PRICE      32 /* A F */
#define FIELD_TAKEN          19 /* E C X */
#define FIELD_NEW_REFERENCE  19 /* U */
#define FIELD_REPLACE_SHARES 27 /* U */
#define FIELD_REPLACE_PRICE  31 /* U */

static const uint8_t sizes[LLR_ITCH_TYPE_COUNT] = {
#define LLR_ITCH_SIZE(name, letter, size) [LLR_ITCH_##name] = (size),
	LLR_ITCH_TABLE(LLR_ITCH_SIZE)
#undef LLR_ITCH_SIZE
};

/* 1 + enum llr_itch_type for a letter; 0: no such type. */
static const uint8_t types[256] = {
#define LLR_ITCH_TYPE(name, letter, size) [letter] = LLR_ITCH_##name + 1,
	LLR_ITCH_TABLE(LLR_ITCH_TYPE)
#undef LLR_ITCH_TYPE
};

static const char letters[LLR_ITCH_TYPE_COUNT] = {
#define LLR_ITCH_LETTER(name, letter, size) [LLR_ITCH_##name] = (letter),
	LLR_ITCH_TABLE(LLR_ITCH_LETTER)
#undef LLR_ITCH_LETTER
};

static void decode_order(const uint8_t *bytes, struct llr_itch_message *message)
{
	message->reference = llr_be64_load(bytes + FIELD_REFERENCE);
	message->new_reference = 0;
	message->shares = 0;
	message->price = 0;
	message->side = 0;
	switch (bytes[0]) {
	case 'A':
	case 'F':
		message->side = bytes[FIELD_SIDE];
		message->shares = llr_be32_load(bytes + FIELD_ADD_SHARES);
		message->price = llr_be32_load(bytes + FIELD_ADD_PRICE);
		break;
	case 'U':
		message->new_reference = llr_be64_load(bytes + FIELD_NEW_REFERENCE);
		message->shares = llr_be32_load(bytes + FIELD_REPLACE_SHARES);
		message->price = llr_be32_load(bytes + FIELD_REPLACE_PRICE);
		break;
	case 'E':
	case 'C':
	case 'X':
		message->shares = llr_be32_load(bytes + FIELD_TAKEN);
		break;
	default: /* D says nothing more; the caller lets no other type in */
		break;
	}
}

enum llr_itch_verdict llr_itch_decode(const uint8_t *bytes, uint32_t size,
				      struct llr_itch_message *message)
{
	unsigned int type;

	if (size == 0)
		return LLR_ITCH_WRONG_LENGTH;
	type = types[bytes[0]];
	if (type == 0)
		return LLR_ITCH_UNKNOWN_TYPE;
	type--;
	if (size != sizes[type])
		return LLR_ITCH_WRONG_LENGTH;
	message->type = (enum llr_itch_type)type;
	message->locate = llr_be16_load(bytes + FIELD_LOCATE);
	if (type > LLR_ITCH_REPLACE)
		return LLR_ITCH_OTHER;
	decode_order(bytes, message);
	return LLR_ITCH_ORDER;
}

char llr_itch_letter(enum llr_itch_type type)
{
	LLR_ASSERT(type < LLR_ITCH_TYPE_COUNT);
	return letters[type];
}

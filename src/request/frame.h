/* SPDX-License-Identifier: MIT */
/*
 * LLRP/1 frames: the 32-byte header, the route block and what follows it, from bytes and to bytes.
 * Pure: no syscall, no clock, no allocation, no lock. Used by server and client alike.
 *
 *   0      4  5  6     8         16          24      28   32     (48)
 *   +------+--+--+-----+---------+-----------+-------+----+-------+-----+----------+---------+
 *   |"LLRP"|v |t |flags|sequence |timestamp  |length |crc | route | ext | fragment | payload |
 *   +------+--+--+-----+---------+-----------+-------+----+-------+-----+----------+---------+
 *                                              length = bytes from offset 32 on
 */
#ifndef LLR_REQUEST_FRAME_H
#define LLR_REQUEST_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLR_HEADER_SIZE   32U
#define LLR_ROUTE_SIZE    16U
#define LLR_HEAD_SIZE     (LLR_HEADER_SIZE + LLR_ROUTE_SIZE) /* before a plain payload */
#define LLR_FRAGMENT_SIZE 16U
#define LLR_HELLO_SIZE    96U
#define LLR_WELCOME_SIZE  48U
#define LLR_TRACE_SIZE    25U

enum llr_frame_type {
	LLR_PUBLISH = 1,
	LLR_SUBSCRIBE = 2,
	LLR_ACK = 3,
	LLR_HEARTBEAT = 4,
	LLR_BATCH = 5,
	LLR_REQUEST = 6,
	LLR_REPLY = 7,
	LLR_HELLO = 8,
	LLR_WELCOME = 9,
	LLR_NAK = 10,
	LLR_BYE = 11,
	LLR_CANCEL = 12,
};

enum llr_frame_flag {
	LLR_FLAG_NO_CRC = 0x0001,
	LLR_FLAG_FRAGMENT = 0x0002,
	LLR_FLAG_IDEMPOTENT = 0x0004,
	LLR_FLAG_RETRY = 0x0008,
	LLR_FLAG_MORE = 0x0010,
	LLR_FLAG_EXT = 0x0020,
	LLR_FLAG_ORDERED = 0x0040,
};

#define LLR_FEATURE_EXT UINT64_C(1)

/* What the place allows where a frame was received; from the transport's traits. */
enum llr_frame_place {
	LLR_PLACE_CONNECTED = 1, /* MORE allowed, FRAGMENT not */
	LLR_PLACE_STREAM = 2,    /* a frame may be incomplete yet */
	LLR_PLACE_NO_CRC = 4,    /* NO_CRC allowed */
};

/*
 * What became of bytes that should be a frame. The rejections are counted by these names (see
 * counters.h); PARTIAL is no rejection.
 */
enum llr_frame_verdict {
	LLR_FRAME_OK,
	LLR_FRAME_PARTIAL, /* stream: more bytes are needed, frame->frame_size in all */
	LLR_FRAME_BAD_MAGIC,
	LLR_FRAME_BAD_VERSION,
	LLR_FRAME_BAD_LENGTH, /* does not fit what arrived, or is above the maximum */
	LLR_FRAME_BAD_CRC,
	LLR_FRAME_BAD_FLAGS,
	LLR_FRAME_BAD_ROUTE,    /* REQUEST or REPLY with less than a route block */
	LLR_FRAME_BAD_FRAGMENT, /* FRAGMENT without its block */
	LLR_FRAME_BAD_PADDING,  /* between frames, or a tail after the last */
};

/* The fragment block. */
struct llr_fragment {
	uint32_t offset;
	uint32_t total;
	uint32_t message_crc;
};

/*
 * A decoded frame. Every field was read once from the wire, so that memory which changes under us
 * can't disagree with it. Body, trace and payload are borrowed from the bytes decoded.
 */
struct llr_frame {
	const uint8_t *body;
	uint8_t *payload;     /* REQUEST, REPLY: behind route, ext and fragment block */
	const uint8_t *trace; /* LLR_TRACE_SIZE bytes; NULL: none. Set by llr_frame_split */
	uint64_t sequence;
	uint64_t timestamp;
	uint64_t session;    /* REQUEST */
	uint32_t length;     /* of the body */
	uint32_t frame_size; /* header and body; padding not counted */
	uint32_t route;      /* REQUEST, REPLY */
	uint32_t budget_us;  /* REQUEST */
	uint32_t service_ns; /* REPLY */
	uint32_t queue_ns;   /* REPLY */
	uint32_t payload_size;
	struct llr_fragment fragment; /* with FRAGMENT */
	uint16_t flags;
	uint16_t status;  /* REPLY */
	uint16_t credits; /* REPLY */
	uint8_t type;
};

/*
 * Decodes the frame at bytes, of which size are there. On a stream PARTIAL with frame_size 0 means
 * that not even the header is complete. Checks magic, version, flags, length and crc, in an order
 * that reads nothing beyond size; reads the route block of REQUEST and REPLY. What follows the
 * route block is found by llr_frame_split, for it depends on the session.
 */
enum llr_frame_verdict llr_frame_decode(uint8_t *bytes, size_t size, unsigned int place,
					struct llr_frame *frame);

/*
 * Header checks alone (magic, version, flags for its type, length), for a frame whose body is too
 * large to be held: the caller streams the CRC itself. frame_size is set.
 */
enum llr_frame_verdict llr_frame_peek(const uint8_t *bytes, size_t size, unsigned int place,
				      struct llr_frame *frame);

/*
 * Finds extension blocks, fragment block and payload of a REQUEST or REPLY behind its route block.
 * Extension blocks stand in the part at offset 0 alone.
 * Returns LLR_FRAME_OK; LLR_FRAME_BAD_FRAGMENT; LLR_FRAME_BAD_FLAGS where EXT was not granted; and
 * sets *ext_broken where blocks are malformed (a 400, no rejection).
 */
enum llr_frame_verdict llr_frame_split(struct llr_frame *frame, bool ext_granted, bool *ext_broken);

/* Steps over the zeros between frames: bytes from the frame's end to the next multiple of 16. */
static inline uint32_t llr_frame_padding(uint32_t frame_size)
{
	return -frame_size & 15U;
}

/* Fields for a header to be written; length is the body's. */
struct llr_header {
	uint64_t sequence;
	uint64_t timestamp;
	uint32_t length;
	uint16_t flags;
	uint8_t type;
};

/*
 * Writes the 32 bytes at frame. The body of header->length bytes already stands behind them; the
 * crc is computed over both unless flags has NO_CRC. Call it last.
 */
void llr_header_encode(uint8_t *frame, const struct llr_header *header);

/* The 16 bytes at frame + 32. */
void llr_request_route_encode(uint8_t *frame, uint32_t route, uint32_t budget_us, uint64_t session);

struct llr_reply_route {
	uint32_t route;
	uint32_t service_ns;
	uint32_t queue_ns;
	uint16_t status;
	uint16_t credits;
};
void llr_reply_route_encode(uint8_t *frame, const struct llr_reply_route *reply);

/* The 16 bytes of a fragment block. */
void llr_fragment_encode(uint8_t *block, const struct llr_fragment *fragment);

struct llr_hello {
	uint64_t nonce;
	uint64_t cookie;
	uint64_t features;
	uint32_t max_message;
	uint16_t window;
};
void llr_hello_encode(uint8_t *body, const struct llr_hello *hello);
void llr_hello_decode(const uint8_t *body, struct llr_hello *hello);

struct llr_welcome {
	uint64_t session;
	uint64_t cookie;
	uint64_t epoch;
	uint64_t features;
	uint64_t nonce;
	uint32_t max_message;
	uint16_t window;
	uint16_t status;
};
void llr_welcome_encode(uint8_t *body, const struct llr_welcome *welcome);
void llr_welcome_decode(const uint8_t *body, struct llr_welcome *welcome);

/* Cuts UTF-8 text of size bytes at a character's boundary, at most size_max bytes. */
uint32_t llr_utf8_cut(const char *text, uint32_t size, uint32_t size_max);

#endif

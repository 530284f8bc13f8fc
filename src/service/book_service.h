/* SPDX-License-Identifier: MIT */
/*
 * The service `book`: llrph.Book/Apply takes one ITCH 5.0 message, llrph.Book/Top a stock locate;
 * both answer the 40-byte record that book.h draws.
 */
#ifndef LLR_SERVICE_BOOK_SERVICE_H
#define LLR_SERVICE_BOOK_SERVICE_H

#include <llrph/service.h>

extern const struct llrph_service llr_service_book;

#endif

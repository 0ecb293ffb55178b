/* A message as it arrives, line by line: which one it is, the hash of its body, and what a report says of whom. */
#ifndef TESTS_SOAK_LETTER_H
#define TESTS_SOAK_LETTER_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/soak/ledger.h"

struct letter {
	unsigned id;                    /* as its X-Soak field says, or that of the message that a report returns; 0: none */
	bool in_body;
	uint32_t hash;
	unsigned nto;
	struct letter_to {              /* Delivered-To, or Final-Recipient */
		unsigned id, rcpt;
		char domain[64];
		char action[16], diagnostic[400];
	} to[RECIPIENTS];
	char last[16];                  /* the field that a line with a blank goes on with */
};

void letter_begin(struct letter *);
void letter_line(struct letter *, const char *line, int n);     /* without its line end */
/* m12.k3@domain, with whatever stands before the m. */
bool letter_address(const char *, unsigned *id, unsigned *rcpt, char domain[64]);

#endif

/* Texts that are compared with files in tests/golden; FARDEL_GOLDEN=write writes these anew from what is made now. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include "lib/buf.h"

void golden_check(const char *name, struct buf *out);   /* ends the test when it differs */
/* A message that brings a report: *report gets what is attached, in clear, and *shown the rest, without CR. How well it is compressed is the
 * library's business. */
void golden_unpack(struct buf *message, struct buf *report, struct buf *shown);

#endif

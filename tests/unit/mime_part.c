/* Parts of messages: where they begin and end, and what they say. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "mime/part.h"

Suite *mime_part_suite(void);

static struct part open_text(const char *text)
{
	struct part p;

	part_open(str_of(text), &p);
	return p;
}

START_TEST(a_type_and_its_parameters)
{
	static const struct { const char *type, *is, *boundary; } row[] = {
		{ "multipart/mixed; boundary=b", "multipart/mixed", "b" },
		{ "Multipart/Mixed;\r\n\tBoundary=\"a b;c\"", "multipart/", "a b;c" },
		{ "multipart/mixed; x=\"; boundary=wrong\"; boundary=right", "multipart/mixed", "right" },
		{ "multipart/mixed; boundary = \"q\\\"q\" (comment)", "multipart/mixed", "q\"q" },
		{ "multipart/mixed; boundaryx=1; boundary=2;charset=3", "multipart/mixed", "2" },
		{ "multipart/mixed;boundary=\"\"", "multipart/mixed", NULL },
		{ "multipart/mixed; boundary", "multipart/mixed", NULL },
		{ "multipart/mixedx; y", "multipart/", NULL },
		{ "text/plain", "text/plain", NULL },
	};
	char boundary[20], header[200];

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct part p;

		snprintf(header, sizeof header, "Content-Type: %s\r\n\r\nx", row[i].type);
		p = open_text(header);
		ck_assert_msg(part_is(&p, row[i].is), "%s", row[i].type);
		ck_assert(!part_is(&p, "multipart/mix"));
		ck_assert_msg(part_param(&p, "boundary", boundary, sizeof boundary) == (row[i].boundary != NULL), "%s", row[i].type);
		if (row[i].boundary)
			ck_assert_str_eq(boundary, row[i].boundary);
	}
}
END_TEST

/* The bodies of the parts, "|" behind each. */
static const char *bodies(const char *text)
{
	static char out[400];
	struct part whole = open_text(text), p;
	struct str rest = whole.body;

	out[0] = '\0';
	while (part_next(&whole, &rest, &p))
		snprintf(out + strlen(out), sizeof out - strlen(out), STR_FMT "|", STR_ARG(p.body));
	return out;
}

START_TEST(parts_end_where_their_boundary_stands)
{
#define HEAD "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	static const struct { const char *text, *bodies; } row[] = {
		{ HEAD "before\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\nbehind\r\n--b\r\n\r\nno\r\n", "one|two|" },
		{ HEAD "--b\n\none\n--b\n\ntwo\n--b--\n", "one|two|" },
		{ HEAD "--b\r\n\r\none\r\n--bb\r\n--b c\r\n--b \r\n\r\ntwo\r\n--b-- \r\n", "one\r\n--bb\r\n--b c|two|" },
		{ HEAD "--b\r\n\r\ntorn off", "torn off|" },
		{ HEAD "--b\r\n\r\none\r\n--b", "one||" },
		{ HEAD "--b\r\n--b--\r\n", "|" },
		{ HEAD "--b--\r\n--b\r\n\r\nno\r\n", "" },
		{ HEAD, "" },
		{ "Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\none\r\n", "" },
		{ "Content-Type: text/plain; boundary=b\r\n\r\n--b\r\n\r\none\r\n", "" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		ck_assert_str_eq(bodies(row[i].text), row[i].bodies);
}
END_TEST

START_TEST(a_body_is_decoded)
{
	static const struct { const char *coding, *text, *out; } row[] = {
		{ "base64", "Zm9v\r\nYmFy\r\n", "foobar" }, { "BASE64 (x)", "Z m!9vYg==", "foob" }, { "quoted-printable", "a=3D=\r\nb=\nc=4x", "a=bc=4x" },
		{ "8bit", "a=3D", "a=3D" }, { "x-uuencode", "a=3D", "a=3D" }, { "base64x", "Zm9v", "Zm9v" },
	};
	char text[200];

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct buf out = { 0 }, small = { .max = 3 };
		struct part p;

		snprintf(text, sizeof text, "Content-Transfer-Encoding: %s\r\n\r\n%s", row[i].coding, row[i].text);
		p = open_text(text);
		ck_assert(part_decode(&p, &out));
		ck_assert_str_eq(buf_cstr(&out), row[i].out);
		ck_assert(part_decode(&p, &small) == (out.n <= 3) && small.n <= 3);
		buf_free(&out);
		buf_free(&small);
	}
}
END_TEST

Suite *mime_part_suite(void)
{
	Suite *s = suite_create("mime_part");
	TCase *t = tcase_create("parts");

	tcase_add_test(t, a_type_and_its_parameters);
	tcase_add_test(t, parts_end_where_their_boundary_stands);
	tcase_add_test(t, a_body_is_decoded);
	suite_add_tcase(s, t);
	return s;
}

/* Aggregate reports as Google, Microsoft and Fastmail write them, and what is none. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

#include "lib/codec.h"
#include "policy/feedback.h"

Suite *policy_feedback_suite(void);

static struct buf out;

static const char *read_message(struct str text)
{
	buf_free(&out);
	out = (struct buf){ .max = FEEDBACK_TEXT };
	return feedback_read(FEEDBACK_AGGREGATE, text, "mail.example.org", &out);
}

static void teardown(void) { buf_free(&out); }

#define GOOGLE "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<feedback>\n  <report_metadata>\n    <org_name>google.com</org_name>\n" \
	"    <email>noreply-dmarc-support@google.com</email>\n    <report_id>1234567890</report_id>\n    <date_range>\n      <begin>1795737600</begin>\n" \
	"      <end>1795823999</end>\n    </date_range>\n  </report_metadata>\n  <policy_published>\n    <domain>Example.org</domain>\n    <adkim>r</adkim>\n" \
	"    <p>none</p>\n    <sp>reject</sp>\n    <pct>100</pct>\n    <np>none</np>\n  </policy_published>\n" \
	"  <record>\n    <row>\n      <source_ip>192.0.2.7</source_ip>\n      <count>12</count>\n      <policy_evaluated>\n        <disposition>none</disposition>\n" \
	"        <dkim>pass</dkim>\n        <spf>fail</spf>\n        <reason><type>forwarded</type><comment>a, b</comment></reason>\n      </policy_evaluated>\n    </row>\n" \
	"    <identifiers>\n      <header_from>example.org</header_from>\n    </identifiers>\n    <auth_results>\n      <dkim>\n        <domain>example.org</domain>\n" \
	"        <result>pass</result>\n        <selector>s1</selector>\n      </dkim>\n      <dkim><domain>list.test</domain><result>fail</result></dkim>\n" \
	"      <spf>\n        <domain>list.test</domain>\n        <result>pass</result>\n      </spf>\n    </auth_results>\n  </record>\n</feedback>\n"
#define GOOGLE_LINES "dmarc 1795823999 example.org\n" \
	" kind=dmarc org=google.com report=1234567890 begin=1795737600 end=1795823999 domain=example.org p=none sp=reject pct=100 rows=1 n=12\n" \
	" ip=192.0.2.7 n=12 dkim=pass spf=fail done=none from=example.org why=forwarded signed=example.org:pass,list.test:fail sent=list.test:pass\n"

/* RFC 9990 has a namespace; some write a prefix. Microsoft: without line ends, with envelope_to. */
#define MICROSOFT "<?xml version=\"1.0\"?><m:feedback xmlns:m=\"urn:ietf:params:xml:ns:dmarc-2.0\"><m:version>1.0</m:version><m:report_metadata>" \
	"<m:org_name>Enterprise Outlook</m:org_name><m:email>dmarcreport@microsoft.com</m:email><m:report_id>ab&amp;cd</m:report_id><m:date_range>" \
	"<m:begin>1</m:begin><m:end>2</m:end></m:date_range></m:report_metadata><m:policy_published><m:domain>example.org</m:domain><m:p>reject</m:p>" \
	"</m:policy_published><m:record><m:row><m:source_ip>2001:db8::1</m:source_ip><m:count>1</m:count><m:policy_evaluated><m:disposition>reject</m:disposition>" \
	"<m:dkim>fail</m:dkim><m:spf>fail</m:spf></m:policy_evaluated></m:row><m:identifiers><m:envelope_to>x.test</m:envelope_to>" \
	"<m:envelope_from>y.test</m:envelope_from><m:header_from>example.org</m:header_from></m:identifiers><m:auth_results/></m:record></m:feedback>"
#define MICROSOFT_LINES "dmarc 2 example.org\n kind=dmarc org=Enterprise%20Outlook report=ab&cd begin=1 end=2 domain=example.org p=reject rows=1 n=1\n" \
	" ip=2001:db8::1 n=1 dkim=fail spf=fail done=reject from=example.org mail=y.test\n"

#define TLS "{\"organization-name\":\"Google Inc.\",\"date-range\":{\"start-datetime\":\"2026-11-27T00:00:00Z\",\"end-datetime\":\"2026-11-27T23:59:59Z\"}," \
	"\"contact-info\":\"smtp-tls-reporting@google.com\",\"report-id\":\"2026-11-27T00:00:00Z_example.org\",\"policies\":[{\"policy\":{\"policy-type\":\"sts\"," \
	"\"policy-string\":[\"version: STSv1\",\"mode: enforce\"],\"policy-domain\":\"example.org\",\"mx-host\":[\"mx.example.org\"]}," \
	"\"summary\":{\"total-successful-session-count\":23,\"total-failure-session-count\":1},\"failure-details\":[{\"result-type\":\"certificate-expired\"," \
	"\"sending-mta-ip\":\"192.0.2.1\",\"receiving-mx-hostname\":\"mx.example.org\",\"receiving-ip\":\"192.0.2.9\",\"failed-session-count\":1," \
	"\"failure-reason-code\":\"X509 no longer valid\"}]},{\"policy\":{\"policy-type\":\"no-policy-found\",\"policy-domain\":\"sub.example.org\"},\"summary\":{}}]}"
#define TLS_LINES "tls 1795823999 example.org sub.example.org\n" \
	" kind=tls org=Google%20Inc. report=2026-11-27T00:00:00Z_example.org contact=smtp-tls-reporting@google.com begin=1795737600 end=1795823999\n" \
	" domain=example.org type=sts good=23 bad=1\n" \
	" result=certificate-expired n=1 ip=192.0.2.1 mx=mx.example.org at=192.0.2.9 why=X509%20no%20longer%20valid\n" \
	" domain=sub.example.org type=no-policy-found good=0 bad=0\n"

#if defined(HAVE_ZLIB) && defined(HAVE_EXPAT) && defined(HAVE_JANSSON)
static void put_packed(struct buf *message, struct str text)
{
	z_stream z = { .next_in = (unsigned char *)(uintptr_t)text.p, .avail_in = (unsigned)text.n };
	static unsigned char packed[1 << 20];

	ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_out = packed;
	z.avail_out = sizeof packed;
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	base64_encode(message, packed, sizeof packed - z.avail_out);
	deflateEnd(&z);
}

/* As the only thing in it, as a file beside words for people, within another, and as the second part of a report. */
static const struct { const char *head, *tail; } shapes[] = {
	{ "Content-Type: application/gzip; name=\"google.com!example.org!1!2.xml.gz\"\r\nContent-Transfer-Encoding: base64\r\n\r\n", "" },
	{ "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n<not this>\r\n--b\r\nContent-Type: application/octet-stream\r\n"
		"Content-Transfer-Encoding: base64\r\n\r\n", "\r\n--b--\r\n" },
	{ "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/related; boundary=c\r\n\r\n--c\r\nContent-Type: text/html\r\n\r\n<p>\r\n--c--\r\n"
		"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b\r\nContent-Type: application/x-gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n",
		"\r\n--b--\r\n" },
	{ "Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=b\n\n--b\nContent-Type: text/plain\n\nx\n--b\nContent-Type: application/tlsrpt+gzip\n"
		"Content-Transfer-Encoding: base64\n\n", "\n--b--\n" },
};

START_TEST(a_report_is_found_in_whatever_shape_it_comes)
{
	static const struct { struct str text; const char *lines; } reports[] = {
		{ STR(GOOGLE), GOOGLE_LINES }, { STR("\xef\xbb\xbf" MICROSOFT), MICROSOFT_LINES }, { STR(TLS), TLS_LINES },
	};

	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		for (size_t k = 0; k < sizeof reports / sizeof *reports; k++) {
			struct buf message = { 0 };
			const char *wrong;

			buf_puts(&message, shapes[i].head);
			put_packed(&message, reports[k].text);
			buf_puts(&message, shapes[i].tail);
			wrong = read_message(buf_view(&message));
			ck_assert_msg(!wrong, "shape %zu, report %zu: %s", i, k, wrong);
			ck_assert_str_eq(buf_cstr(&out), reports[k].lines);
			buf_free(&message);
		}
}
END_TEST

START_TEST(a_file_that_unpacks_to_too_much_is_none)
{
	struct buf text = { 0 }, message = { 0 };

	buf_puts(&message, shapes[0].head);
	for (int i = 0; i <= FEEDBACK_FILE / 60; i++)
		buf_puts(&text, "<a>                                                            ");
	put_packed(&message, buf_view(&text));
	ck_assert_str_eq(read_message(buf_view(&message)), "it unpacks to too much");
	ck_assert_uint_eq(out.n, 0);
	buf_free(&text);
	buf_free(&message);
}
END_TEST
#endif

#if defined(HAVE_EXPAT) || defined(HAVE_JANSSON)
/* As a file of its own, not packed. */
static const char *read_file(const char *text)
{
	struct buf message = { 0 };
	const char *wrong;

	buf_puts(&message, "Content-Type: application/octet-stream\n\n");
	buf_puts(&message, text);
	wrong = read_message(buf_view(&message));
	buf_free(&message);
	return wrong;
}
#endif

#ifdef HAVE_EXPAT
#define META "<report_metadata><org_name>x</org_name><report_id>y</report_id><date_range><begin>1</begin><end>2</end></date_range></report_metadata>"
#define POLICY "<policy_published><domain>example.org</domain></policy_published>"
#define RECORD(ip, n) "<record><row><source_ip>" ip "</source_ip><count>" n "</count></row></record>"

START_TEST(xml_that_is_no_report_is_none)
{
	static const struct { const char *text, *why; } row[] = {
		{ "<feedback>" META POLICY RECORD("192.0.2.1", "1") "</feedback>", NULL },
		{ "<feedback>" META POLICY "</feedback>", NULL },
		{ "<feedback>" META POLICY RECORD("192.0.2.1", "1"), "it is no XML" },
		{ "<feedback>" META POLICY RECORD("192.0.2", "1") "</feedback>", "no address" },
		{ "<feedback>" META POLICY RECORD("", "1") "</feedback>", "no address" },
		{ "<feedback>" META POLICY RECORD("::1", "-1") "</feedback>", "no number" },
		{ "<feedback>" META POLICY RECORD("::1", "99999999999") "</feedback>", "no number" },
		{ "<feedback>" META "</feedback>", "of no domain" },
		{ "<feedback>" POLICY "</feedback>", "does not say who reports" },
		{ "<feedback><report_metadata><org_name>x</org_name><report_id>y</report_id></report_metadata>" POLICY "</feedback>", "of no time" },
		{ "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><feedback>&b;</feedback>", "defines a document type" },
		{ "<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><feedback/>", "defines a document type" },
		{ "<feedback>&b;</feedback>", "it is no XML" },
		{ "<a><a><a><a><a><a><a><a><a><a><a><a><a>", "too deep" },
		{ "<a/>", "does not say who reports" },
		{ "<a/><b/>", "it is no XML" },
		{ "<", "it is no XML" },
		{ "", "is empty" },
		{ "text", "no file in it is XML or JSON" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const char *why = read_file(row[i].text);

		ck_assert_msg(row[i].why ? why && strstr(why, row[i].why) : !why, "row %zu: %s", i, why ? why : "taken");
		ck_assert(!why || !out.n);
	}
}
END_TEST

START_TEST(rows_without_room_are_in_the_sums)
{
	struct buf text = { 0 }, copy = { 0 };
	struct str rest, line;
	unsigned long long all = 0, n;

	buf_puts(&text, "<feedback>" META POLICY);
	for (int i = 0; i < 5000; i++)
		buf_printf(&text, "<record><row><source_ip>192.0.%d.%d</source_ip><count>2</count><policy_evaluated><dkim>%s</dkim></policy_evaluated></row></record>",
			i / 250, i % 250, i % 2 ? "pass" : "fail");
	buf_puts(&text, "</feedback>");
	ck_assert_ptr_null(read_file(buf_cstr(&text)));
	rest = buf_view(&out);
	ck_assert(str_cut(&rest, '\n', &line) && str_cut(&rest, '\n', &line));
	ck_assert(str_ends_nocase(line, STR(" rows=5000 n=10000")));
	while (str_cut(&rest, '\n', &line)) {
		const char *at;

		buf_clear(&copy);
		buf_str(&copy, line);
		at = strstr(buf_cstr(&copy), " n=");
		ck_assert(at && sscanf(at, " n=%llu", &n) == 1);
		all += n;
	}
	ck_assert_uint_eq(all, 10000);
	buf_free(&text);
	buf_free(&copy);
}
END_TEST

START_TEST(values_are_bounded_and_stay_on_their_line)
{
	struct buf text = { 0 };

	buf_puts(&text, "<feedback><report_metadata><org_name>a\nb &#10;\xc3\xa4</org_name><report_id>");
	for (int i = 0; i < 10000; i++)
		buf_char(&text, 'x');
	buf_puts(&text, "</report_id><date_range><begin>1</begin><end>2</end></date_range></report_metadata>" POLICY "</feedback>");
	ck_assert_str_eq(read_file(buf_cstr(&text)), "it does not say who reports, or has no id");
	buf_free(&text);
	ck_assert_ptr_null(read_file("<feedback><report_metadata><org_name>a\nb &#10;\xc3\xa4</org_name><report_id>y</report_id><date_range><begin>1</begin><end>2</end></date_range></report_metadata>" POLICY "</feedback>"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), " org=a?b%20?%C3%A4 report=y "));
}
END_TEST
#endif

#ifdef HAVE_JANSSON
START_TEST(json_that_is_no_report_is_none)
{
#define RANGE "\"date-range\":{\"start-datetime\":\"2026-11-27T00:00:00Z\",\"end-datetime\":\"2026-11-27T23:59:59Z\"}"
#define NAMES "\"organization-name\":\"x\",\"report-id\":\"y\","
#define P "{\"policy\":{\"policy-domain\":\"example.org\"},\"summary\":{}}"
	static const struct { const char *text, *why; } row[] = {
		{ "{" NAMES RANGE ",\"policies\":[" P "]}", NULL },
		{ "{" NAMES "\"date-range\":{\"start-datetime\":\"2026-11-27T01:00:00.25+01:00\",\"end-datetime\":\"2026-11-27T01:00:00\"},\"policies\":[" P "]}", NULL },
		{ "{" NAMES RANGE ",\"policies\":[{\"policy\":{\"policy-domain\":\"example.org\"},\"summary\":{\"total-failure-session-count\":\"7\"}}]}", NULL },
		{ "{" NAMES RANGE ",\"policies\":[" P "]", "it is no JSON" },
		{ "{" NAMES NAMES RANGE ",\"policies\":[" P "]}", "it is no JSON" },
		{ "{" RANGE ",\"policies\":[" P "]}", "does not say who reports" },
		{ "{" NAMES "\"policies\":[" P "]}", "of no time" },
		{ "{" NAMES "\"date-range\":{\"start-datetime\":7,\"end-datetime\":\"yesterday\"},\"policies\":[" P "]}", "of no time" },
		{ "{" NAMES RANGE ",\"policies\":[]}", "of no domain" },
		{ "{" NAMES RANGE ",\"policies\":{}}", "of no domain" },
		{ "{" NAMES RANGE ",\"policies\":[7]}", "of no domain" },
		{ "{" NAMES RANGE ",\"policies\":[{\"policy\":{\"policy-domain\":\"example.org\"}}]}", "counts no sessions" },
		{ "{" NAMES RANGE ",\"policies\":[{\"policy\":{\"policy-domain\":\"example.org\"},\"summary\":{\"total-failure-session-count\":-1}}]}", "counts no sessions" },
		{ "{" NAMES RANGE ",\"policies\":[{\"policy\":{\"policy-domain\":\"example.org\"},\"summary\":{},\"failure-details\":[[]]}]}", "counts no sessions" },
		{ "{}", "does not say who reports" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const char *why = read_file(row[i].text);

		ck_assert_msg(row[i].why ? why && strstr(why, row[i].why) : !why, "row %zu: %s", i, why ? why : "taken");
	}
}
END_TEST

START_TEST(json_nested_without_end_is_none)
{
	struct buf text = { 0 };

	buf_puts(&text, "{\"a\":");
	for (int i = 0; i < 100000; i++)
		buf_char(&text, '[');
	ck_assert_str_eq(read_file(buf_cstr(&text)), "it is no JSON");
	for (int i = 0; i < 300000; i++)
		buf_char(&text, '[');
	ck_assert_str_eq(read_file(buf_cstr(&text)), "it is too large");
	buf_free(&text);
}
END_TEST
#endif

START_TEST(a_message_without_a_file_is_none)
{
	ck_assert_str_eq(read_message(STR("Subject: x\r\n\r\n<feedback>")), "there is no file in it");
	ck_assert_str_eq(read_message(STR("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n{}\n--b--\n")), "there is no file in it");
	ck_assert_str_eq(read_message(STR("")), "there is no file in it");
}
END_TEST

START_TEST(parts_within_parts_have_an_end)
{
	struct buf text = { 0 };

	for (int i = 0; i < 1000; i++)
		buf_printf(&text, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i);
	ck_assert_str_eq(read_message(buf_view(&text)), "there is no file in it");
	buf_clear(&text);
	buf_puts(&text, "Content-Type: multipart/mixed; boundary=b\n\n");
	for (int i = 0; i < 100000; i++)
		buf_puts(&text, "--b\nContent-Type: application/xml\n\nx\n");
	ck_assert_str_eq(read_message(buf_view(&text)), "no file in it is XML or JSON");
	buf_free(&text);
}
END_TEST

START_TEST(what_is_asked_is_read_back)
{
	struct buf name = { 0 };
	enum feedback_kind kind;
	struct str hostname, path;
	int64_t at;

	ck_assert(feedback_ask(&name, FEEDBACK_AGGREGATE, "h", "/a b", 7) && feedback_asked(buf_view(&name), &kind, &hostname, &path, &at));
	ck_assert(kind == FEEDBACK_AGGREGATE && str_eq(hostname, STR("h")) && str_eq(path, STR("/a b")) && at == 7);
	ck_assert(!feedback_asked(STR("status\nh\nx\n/a"), &kind, &hostname, &path, &at) && !feedback_asked(STR(""), &kind, &hostname, &path, &at));
	buf_free(&name);
}
END_TEST

Suite *policy_feedback_suite(void)
{
	Suite *s = suite_create("policy_feedback");
	TCase *t = tcase_create("aggregate reports");

	tcase_add_checked_fixture(t, NULL, teardown);
#if defined(HAVE_ZLIB) && defined(HAVE_EXPAT) && defined(HAVE_JANSSON)
	tcase_add_test(t, a_report_is_found_in_whatever_shape_it_comes);
	tcase_add_test(t, a_file_that_unpacks_to_too_much_is_none);
#endif
#ifdef HAVE_EXPAT
	tcase_add_test(t, xml_that_is_no_report_is_none);
	tcase_add_test(t, rows_without_room_are_in_the_sums);
	tcase_add_test(t, values_are_bounded_and_stay_on_their_line);
#endif
#ifdef HAVE_JANSSON
	tcase_add_test(t, json_that_is_no_report_is_none);
	tcase_add_test(t, json_nested_without_end_is_none);
#endif
	tcase_add_test(t, a_message_without_a_file_is_none);
	tcase_add_test(t, parts_within_parts_have_an_end);
	tcase_add_test(t, what_is_asked_is_read_back);
	suite_add_tcase(s, t);
	return s;
}

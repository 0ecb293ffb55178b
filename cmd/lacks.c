/* What is missed when an optional library is not here. */
#include "cmd/lacks.h"

#include <stdbool.h>

#include "auth/users.h"
#include "lib/buf.h"
#include "lib/idn.h"
#include "lib/log.h"
#include "lib/pubkey.h"
#include "lib/suffix.h"
#include "lib/unpack.h"
#include "policy/feedback.h"

/* libseccomp: the line of the sandbox tells. */
static const struct {
	bool (*is_here)(void);
	const char *name, *what;
} optional[] = {
	{ crypt_available, "libcrypt", "users whose password is a hash of crypt(3) cannot log in" },
	{ idn_available, "libidn2", "domains that are not ASCII are refused" },
	{ suffix_available, "libpsl", "only top-level domains are known to be public suffixes" },
	{ ed25519_available, "libsodium", "DKIM signatures by Ed25519 are neither made nor checked" },
	{ unpack_available, "zlib", "reports of DMARC and of TLS are sent as they are, and those that come packed are mail like any other" },
	{ feedback_reads_dmarc, "expat", "reports of DMARC that come are mail like any other" },
	{ feedback_reads_tls, "jansson", "reports of TLS that come are mail like any other" },
};

const char *lacks(size_t i, const char **what)
{
	for (size_t k = 0; k < sizeof optional / sizeof *optional; k++) {
		if (optional[k].is_here() || i--)
			continue;
		*what = optional[k].what;
		return optional[k].name;
	}
	return NULL;
}

void lacks_log(void)
{
	struct buf names = { 0 };
	const char *name, *what;

	for (size_t i = 0; (name = lacks(i, &what)); i++)
		buf_printf(&names, "%s%s", i ? ", " : "", name);
	if (names.n)
		log_text(LOG_INFO, "without", "%s; what that means is told by `fardel check`", buf_cstr(&names));
	buf_free(&names);
}

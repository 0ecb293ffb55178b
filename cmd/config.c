/* config: shows every setting with its explanation, its value and where that is from; good as a file to start with. */
#include <stdio.h>
#include <sysexits.h>

#include "cmd/fardel.h"
#include "cmd/settings.h"

int cmd_config(int argc, char **argv)
{
	struct settings set;
	struct buf out = { 0 };
	int status = settings_for_command(&set, argc, argv);

	if (status == 0 && !conf_print(&set.conf, &out))
		status = EX_OSERR;
	if (status == 0) {
		printf("# Settings of fardel: name = value. A line with # in front is what holds when nothing is said.\n"
			"# FARDEL_NAME in the environment comes before this file, -o 'name = value' before both.\n\n");
		fwrite(out.p, 1, out.n, stdout);
		if (fflush(stdout) == EOF)
			status = EX_IOERR;
	}
	buf_free(&out);
	settings_free(&set);
	return status;
}

# fardel: `make` builds ./fardel, `make run` shows it at work, `make check` tests it. GNU make; nothing to configure.
#
#   make            ./fardel (objects in build/default/)
#   make run        a demonstration under ./run/; ONCE=1 ends after its deliveries
#   make check      unit tests, then end to end; T=lib_conf runs one unit suite alone
#   make e2e        end to end alone; T=dkim runs the cases whose names begin so
#   make asan       unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   make valgrind   unit tests under valgrind
#   make clang      everything built by clang, unit tests run
#   make cross ARCH=armhf    built for another machine, its size, unit tests in qemu's emulation of it: arm64, armhf, mipsel, s390x; or musl
#   make conformance    suites of test cases: ours, and published ones that lie in CONFORMANCE (spf/*.yml, psl/*.txt, dkim, dmarc, arc)
#   make crash      fardel killed at, and power cut behind, every call that matters; about an hour, mostly waiting. T=drop: one scenario
#   make power      the power of real file systems is cut below fardel, and a control that must lose mail; as root. FS="ext4 xfs" SYNC CUTS SEED
#   make faults     system calls of fardel fail, from outside: one by one, and from one on; about 20 minutes. Needs strace. N=all SEED SYNC SCENES
#   make soak       an hour of mixed load with faults, killed and restarted within: all mail accounted for, memory flat; SOAK_SECONDS
#   make fuzz       every fuzzer for FUZZ_SECONDS each
#   make bench      all that follow but for the last, one after the other, about half an hour; ROUNDS; DISK=ext4
#   make bench-accept   accepting beside Postfix, and what the disk gives, about seven minutes; ROUNDS, SECONDS_EACH, CASES
#   make bench-relay    accepting and delivering beside Postfix and Exim, and what goes over the wire; as root
#   make bench-counts   what a message costs in calls, syncs, octets and allocations; QUEUE_SYNC=file
#   make bench-latency  how long a lone message waits, and how long the loop stands, in quiet and with trouble; needs no Postfix
#   make bench-scale    memory with many sessions and messages, starts with a large queue, slow clients; needs no Postfix
#   make bench-judge    what SPF, DKIM and DMARC of a message cost
#   make lint       layers, style and warnings as errors
#   make deps       installs what is missing (as root) or says which line does
#   make install    program, man pages and sample settings below PREFIX; DESTDIR stands before all paths
#   make install-mta    the same, and what other programs call: sendmail, mailq, newaliases
#   make install-units  units for systemd, its account and queue directory; nothing is started
#   make uninstall  removes all of that again, settings that were changed excepted
#   make deb        a Debian package in build/deb/; DEB_BUILD_OPTIONS=nocheck without unit tests
#   make clean
#
# V=1 shows the commands.

CC       = cc
# Small: most of the time goes to the kernel, the disk and libraries. FAST: what goes over each octet of a message.
CFLAGS   = -Os -g
FAST     = lib/buf lib/hash lib/rsa lib/str mime/header mime/transfer policy/dkim_canon
CPPFLAGS =
LDFLAGS  =
WARN     = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings
FUZZ_SECONDS = 20

DESTDIR  =
PREFIX   = /usr/local
bindir   = $(PREFIX)/bin
sbindir  = $(PREFIX)/sbin
libdir   = $(PREFIX)/lib
mandir   = $(PREFIX)/share/man
compdir  = $(PREFIX)/share/bash-completion/completions
unitdir  = $(libdir)/systemd/system
confdir  = /etc/fardel

VARIANT  = default
B       := build/$(VARIANT)

# ---- what a variant changes
EXTRA_default  = -fstack-protector-strong -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables
EXTRA_valgrind = -O1
EXTRA_lint-gcc = -Werror
EXTRA_lint-clang = -Werror
EXTRA_asan     = -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
EXTRA_fuzz     = -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
EXTRA    = $(EXTRA_$(VARIANT))
ifneq ($(filter clang fuzz,$(VARIANT)),)
CC       = clang
endif

V        =
Q        = $(if $(V),,@echo '$1 $@';)

# Where a long has 32 bits: files of any size, directories of any file system, times behind 2038.
WIDE    := $(shell printf __SIZEOF_LONG__ | $(CC) -E -P - 2>/dev/null | grep -qx 4 && echo -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64)

COMPILE  = $(CC) -std=c11 -D_GNU_SOURCE $(WIDE) -I. $(OPTIONS) $(CPPFLAGS) $(CFLAGS) $(WARN) $(EXTRA) -MMD -MP
LINK     = $(CC) -pthread $(CFLAGS) $(EXTRA) $(LDFLAGS) -Wl,--as-needed,--gc-sections$(RELR)
# Relocations in 1 kB where they took 53, if the linker makes them so and the loader of this C library reads them: glibc's does since 2.36,
# and its headers say so in a cross build, too. Others have no way to tell, and a loader that does not know them crashes.
RELR    := $(shell printf '\043include <features.h>\n_Static_assert(__GLIBC_PREREQ(2, 36), "");\nint main(void) { return 0; }\n' | $(CC) $(LDFLAGS) -x c -o /dev/null - -Wl,--fatal-warnings,-z,pack-relative-relocs >/dev/null 2>&1 && echo ,-z,pack-relative-relocs)

# ---- libraries that it can do without, each opened at its first use (lib/late.h). $(call library,NAME,MODULE,HEADER,FUNCTION): the name it is opened
# by; where it has none, as it is an archive, what links it; nothing: it is not here.
library = $(shell CC='$(CC)' LDFLAGS='$(LDFLAGS)' sh tests/library.sh $(1) $(2) $(3) $(4))
OPTIONAL = CRYPT IDN2 PSL SODIUM SECCOMP ZLIB EXPAT JANSSON
# crypt(3) for hashes in the file of users; without it only the verifiers of `fardel passwd` can be used.
CRYPT   := $(call library,crypt,libcrypt,crypt.h,crypt_r)
# Domains that are not ASCII; without it they are refused.
IDN2    := $(call library,idn2,libidn2,idn2.h,idn2_to_ascii_8z)
# The list of public suffixes; without it only top-level domains are known to be such.
PSL     := $(call library,psl,libpsl,libpsl.h,psl_latest)
# Ed25519, which BearSSL does not sign with; without it such DKIM signatures are neither made nor checked.
SODIUM  := $(call library,sodium,libsodium,sodium.h,sodium_init)
# The filter of system calls (the setting sandbox).
SECCOMP := $(call library,seccomp,libseccomp,seccomp.h,seccomp_init)
# Reports of TLS and DMARC: without it they are sent as they are, and those of others that are packed cannot be read.
ZLIB    := $(call library,z,zlib,zlib.h,inflate)
# What others report of DMARC (XML) and of TLS (JSON); without them such reports are mail like any other.
EXPAT   := $(call library,expat,expat,expat.h,XML_Parse)
JANSSON := $(call library,jansson,jansson,jansson.h,json_loadb)
OPTIONS += $(foreach x,$(OPTIONAL),$(if $($x),-DHAVE_$x=\"$(filter lib%,$($x))\"))
LIBS     = -ludns -lbearssl $(foreach x,$(OPTIONAL),$(filter-out lib%,$($x)))

# ---- sources: a new file is found by itself
SOURCES     := $(sort $(wildcard *.c lib/*.c mime/*.c auth/*.c policy/*.c deliver/*.c queue/*.c smtpd/*.c client/*.c cmd/*.c))
MAIN        := cmd/fardel.c
UNITS       := $(sort $(filter-out tests/unit/main.c,$(wildcard tests/unit/*.c)))
TEST_SOURCES := $(sort $(wildcard tests/*.c)) $(UNITS) tests/unit/main.c
FUZZERS     := $(sort $(wildcard tests/fuzz/*.c))
E2E_SOURCES := $(sort $(wildcard tests/e2e/*.c))
CONFORMANCE_SOURCES := $(sort $(wildcard tests/conformance/*.c))
CRASH_OBJECTS = $(patsubst %.c,$(B)/%.o,$(wildcard tests/crash/*.c))
SOAK_OBJECTS = $(if $(wildcard /usr/include/openssl/ssl.h),$(patsubst %.c,$(B)/%.o,$(wildcard tests/soak/*.c)))
SUITES      := $(subst /,_,$(UNITS:tests/unit/%.c=%))

OBJECTS      = $(SOURCES:%.c=$(B)/%.o)
MODULES      = $(filter-out $(B)/$(MAIN:.c=.o),$(OBJECTS))
TEST_OBJECTS = $(TEST_SOURCES:%.c=$(B)/%.o)
E2E_OBJECTS  = $(E2E_SOURCES:%.c=$(B)/%.o)
CONFORMANCE_OBJECTS = $(CONFORMANCE_SOURCES:%.c=$(B)/%.o)
E2E_PROGRAMS = $(E2E_SOURCES:tests/e2e/%.c=$(B)/e2e/%)
PROGRAM      = $(if $(filter default,$(VARIANT)),fardel,$(B)/fardel)

all: $(PROGRAM)

$(PROGRAM): $(SOURCES:%.c=$(B)/%.o) $(B)/flags $(B)/sources
	$(call Q,LD)$(LINK) -o $@ $(OBJECTS) $(LIBS)

$(B)/unit: $(MODULES) $(TEST_OBJECTS) $(B)/flags $(B)/sources
	$(call Q,LD)$(LINK) -o $@ $(MODULES) $(TEST_OBJECTS) $(LIBS) $(if $(ZLIB),-lz) $$(pkg-config --libs check)

ifeq ($(VARIANT),default)
$(FAST:%=$(B)/%.o): EXTRA += -O2
endif
$(B)/%.o: %.c $(B)/flags | build/deps-build
	@mkdir -p $(@D)
	$(call Q,CC)$(COMPILE) -c -o $@ $<

# Test code needs Check, the program does not.
$(TEST_OBJECTS): | build/deps-check

$(B)/tests/unit/main.o: tests/unit/main.c $(B)/suites.h $(B)/flags
	@mkdir -p $(@D)
	$(call Q,CC)$(COMPILE) -I$(B) -c -o $@ $<

# The other ends of end-to-end tests are programs of their own; they share no code with the program, save the resolver's loop.
$(B)/e2e/fakedns_main: $(B)/tests/fakedns.o $(MODULES)
$(B)/e2e/%: $(B)/tests/e2e/%.o $(B)/flags
	@mkdir -p $(@D)
	$(call Q,LD)$(LINK) -o $@ $(filter %.o,$^) $(LIBS)

# Suites that others publish are read from where they lie: CONFORMANCE/NAME/.
CONFORMANCE ?= ../shared/conformance
$(B)/conformance-%: $(B)/tests/conformance/%.o $(MODULES) $(B)/flags $(B)/sources
	$(call Q,LD)$(LINK) -o $@ $< $(MODULES) $(LIBS)

# The shim is preloaded into fardel: no sanitizer, no other object.
$(B)/crash-shim.so: tests/crash/shim.c tests/crash/trace.h $(B)/flags
	$(call Q,LD)$(CC) -std=c11 -D_GNU_SOURCE -I. $(CFLAGS) $(WARN) -shared -fPIC -o $@ $< -ldl
$(B)/crash: $(B)/tests/crash/crash.o $(B)/tests/tree.o $(B)/flags
	$(call Q,LD)$(LINK) -o $@ $(filter %.o,$^)

# Fuzzers are programs of their own: each file has a LLVMFuzzerTestOneInput().
$(B)/fuzz-%: $(B)/tests/fuzz/%.o $(MODULES) $(B)/flags $(B)/sources
	$(call Q,LD)$(LINK) -fsanitize=fuzzer -o $@ $< $(MODULES) $(LIBS)

# Lists that are written again only when they change, so that a changed flag or a removed file rebuilds what it touches.
define update
	@mkdir -p $(@D)
	@printf '%s\n' $(1) > $@.new; if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
endef
$(B)/flags: FORCE
	$(call update,'$(COMPILE) / $(LINK) $(LIBS)')
$(B)/sources: FORCE
	$(call update,$(SOURCES) $(TEST_SOURCES))
$(B)/suites.h: FORCE
	$(call update,$(patsubst %,'SUITE(%)',$(SUITES)))

# ---- what must be there first
build/deps-%:
	@mkdir -p build
	@CC='$(firstword $(CC))' sh tests/deps.sh $*
	@touch $@
deps:
	@mkdir -p build
	@sh tests/deps.sh build check deb
	@touch build/deps-build build/deps-check

# ---- what to do with it
run: fardel
	@ONCE='$(ONCE)' sh demo/run.sh

unit: $(B)/unit
	@sh tests/run-unit.sh $(B)/unit $(T)
check: fardel $(B)/unit $(E2E_PROGRAMS)
	@sh tests/check.sh $(B)/unit $(T)
e2e: fardel $(E2E_PROGRAMS)
	@sh tests/e2e/run.sh $(T)
conformance: $(CONFORMANCE_SOURCES:tests/conformance/%.c=$(B)/conformance-%)
	@sh tests/conformance.sh $(B)/conformance '$(CONFORMANCE)'
asan: | build/deps-check
	@$(MAKE) --no-print-directory VARIANT=asan unit
clang: | build/deps-clang
	@$(MAKE) --no-print-directory VARIANT=clang all unit
cross:
	@sh tests/cross.sh '$(ARCH)' $(T)
valgrind: | build/deps-valgrind
	@$(MAKE) --no-print-directory VARIANT=valgrind build/valgrind/unit
	@VALGRIND=1 sh tests/run-unit.sh build/valgrind/unit $(T)
crash: fardel $(B)/crash $(B)/crash-shim.so
	@$(B)/crash '$(CURDIR)/fardel' '$(CURDIR)/$(B)/crash-shim.so' $(T)
build/power/disk: tests/power/disk.c | build/deps-power
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) -std=c11 -D_GNU_SOURCE -O2 $(WARN) $$(pkg-config --cflags fuse3) -o $@ $< $$(pkg-config --libs fuse3)
build/power/nosync.so: tests/power/nosync.c
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -shared -fPIC -o $@ $<
power: fardel build/power/disk build/power/nosync.so
	@[ "$$(id -u)" = 0 ] || { echo 'power: it mounts file systems: run it as root' >&2; exit 1; }
	@unshare --mount --net --propagation private python3 tests/power/cut.py '$(CURDIR)/fardel' '$(CURDIR)/build/power'
build/faults/%.so: tests/faults/%.c | build/deps-faults
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -shared -fPIC -o $@ $<
faults: fardel build/faults/begin.so build/faults/lie.so
	@python3 tests/faults/fail.py '$(CURDIR)/fardel' '$(CURDIR)/build/faults'
# Like the bench, it needs OpenSSL, which speaks for the other side.
build/soak/soak: $(wildcard tests/soak/*.c tests/soak/*.h) | build/deps-bench
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) -std=c11 -D_GNU_SOURCE -I. -O2 $(WARN) -o $@ $(filter-out tests/soak/leak.c,$(filter %.c,$^)) -lssl -lcrypto -pthread
build/soak/leak.so: tests/soak/leak.c
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -shared -fPIC -o $@ $< -ldl
soak: fardel build/soak/soak build/soak/leak.so $(B)/e2e/fakedns_main
	@build/soak/soak '$(CURDIR)/fardel' '$(CURDIR)/$(B)/e2e/fakedns_main' '$(CURDIR)/build/soak/leak.so' $(T)
fuzz: | build/deps-clang
	@$(MAKE) --no-print-directory VARIANT=fuzz fuzzers
	@sh tests/fuzz.sh $(FUZZ_SECONDS) $(FUZZERS:tests/fuzz/%.c=build/fuzz/fuzz-%)
build/bench/load: bench/load.c bench/sink.c bench/sink.h | build/deps-bench
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) -std=c11 -D_GNU_SOURCE -I. -O2 $(WARN) -o $@ $(filter %.c,$^) -lssl -lcrypto -pthread
build/bench/disk: bench/disk.c
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) -std=c11 -D_GNU_SOURCE -O2 $(WARN) -o $@ $<
bench:
	@failed=; for part in accept relay counts latency scale; do echo "== bench-$$part"; $(MAKE) --no-print-directory bench-$$part || failed="$$failed $$part"; done; \
		[ -z "$$failed" ] || { echo "bench: not measured:$$failed" >&2; exit 1; }
bench-accept: fardel build/bench/load build/bench/disk $(E2E_PROGRAMS)
	@sh bench/run.sh
build/bench/latency: bench/latency.c
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) -std=c11 -D_GNU_SOURCE -O2 $(WARN) -o $@ $< -pthread
bench-latency: fardel build/bench/load build/bench/latency $(E2E_PROGRAMS)
	@sh bench/latency.sh
bench-scale: fardel build/bench/load $(E2E_PROGRAMS)
	@sh bench/scale.sh
bench-relay: fardel build/bench/load $(E2E_PROGRAMS)
	@sh bench/relay.sh
build/bench/mallocs.so: bench/mallocs.c
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) -std=c11 -D_GNU_SOURCE -O2 $(WARN) -shared -fPIC -o $@ $<
bench-counts: fardel build/bench/load build/bench/mallocs.so $(E2E_PROGRAMS)
	@sh bench/counts.sh
$(B)/bench-judge: $(B)/bench/judge.o $(MODULES) $(B)/flags $(B)/sources
	$(call Q,LD)$(LINK) -o $@ $< $(MODULES) $(LIBS)
bench-judge: $(B)/bench-judge
	@$(B)/bench-judge
objects: $(OBJECTS) $(TEST_OBJECTS) $(E2E_OBJECTS) $(CONFORMANCE_OBJECTS) $(CRASH_OBJECTS) $(SOAK_OBJECTS) $(B)/bench/judge.o
fuzzers: $(FUZZERS:tests/fuzz/%.c=$(B)/fuzz-%)
lint: | build/deps-check
	@sh tests/lint.sh

# ---- installing
# What other mail servers call so, at the places where programs look: links to the program that hold below DESTDIR, too, as
# bindir, sbindir and libdir stand side by side.
MTA_LINKS = '$(sbindir)/sendmail' '$(libdir)/sendmail' '$(bindir)/mailq' '$(bindir)/newaliases'
MTA_TARGET = ../$(notdir $(sbindir))/fardel
MTA_PAGES = man8/sendmail.8 man1/mailq.1 man1/newaliases.1
UNITS     = fardel.service fardel.socket fardel@.service fardel-flush.service fardel-flush.timer

# The settings that are there are never written over: the new sample lies beside them.
install: fardel
	install -d '$(DESTDIR)$(sbindir)' '$(DESTDIR)$(mandir)/man5' '$(DESTDIR)$(mandir)/man8' '$(DESTDIR)$(compdir)' '$(DESTDIR)$(confdir)'
	install -m 755 fardel '$(DESTDIR)$(sbindir)/fardel'
	install -m 644 doc/man/fardel.8 '$(DESTDIR)$(mandir)/man8/fardel.8'
	install -m 644 doc/man/fardel.conf.5 '$(DESTDIR)$(mandir)/man5/fardel.conf.5'
	install -m 644 packaging/completion.bash '$(DESTDIR)$(compdir)/fardel'
	env -i ./fardel config -c /dev/null >'$(DESTDIR)$(confdir)/fardel.conf.sample'
	chmod 644 '$(DESTDIR)$(confdir)/fardel.conf.sample'
	test -e '$(DESTDIR)$(confdir)/fardel.conf' || install -m 644 '$(DESTDIR)$(confdir)/fardel.conf.sample' '$(DESTDIR)$(confdir)/fardel.conf'

# Another mail server's file of that name stops it: a package owns it.
install-mta: install
	@for name in $(MTA_LINKS); do \
		at='$(DESTDIR)'$$name; \
		if [ "$$(readlink "$$at")" = '$(MTA_TARGET)' ] || { [ ! -e "$$at" ] && [ ! -L "$$at" ]; }; then continue; fi; \
		echo "$$at is another program's. Remove that one first, or choose another PREFIX" >&2; exit 1; \
	done
	install -d '$(DESTDIR)$(bindir)' '$(DESTDIR)$(libdir)' '$(DESTDIR)$(mandir)/man1'
	for name in $(MTA_LINKS); do ln -sf '$(MTA_TARGET)' '$(DESTDIR)'$$name || exit 1; done
	for page in $(MTA_PAGES); do install -m 644 doc/man/$${page#*/} '$(DESTDIR)$(mandir)'/$$page || exit 1; done

# systemctl daemon-reload, systemd-sysusers and systemd-tmpfiles --create make use of them.
install-units:
	install -d '$(DESTDIR)$(unitdir)' '$(DESTDIR)$(libdir)/sysusers.d' '$(DESTDIR)$(libdir)/tmpfiles.d'
	for unit in $(UNITS); do \
		sh packaging/place.sh '$(sbindir)' packaging/systemd/$$unit >'$(DESTDIR)$(unitdir)'/$$unit && chmod 644 '$(DESTDIR)$(unitdir)'/$$unit || exit 1; \
	done
	install -m 644 packaging/systemd/sysusers.conf '$(DESTDIR)$(libdir)/sysusers.d/fardel.conf'
	install -m 644 packaging/systemd/tmpfiles.conf '$(DESTDIR)$(libdir)/tmpfiles.d/fardel.conf'

# A link or page that is not ours stays; so do settings that differ from the sample, and the queue.
uninstall:
	for name in $(MTA_LINKS); do \
		if [ "$$(readlink '$(DESTDIR)'$$name)" = '$(MTA_TARGET)' ]; then rm -f '$(DESTDIR)'$$name; fi; \
	done
	for page in $(MTA_PAGES); do \
		if cmp -s doc/man/$${page#*/} '$(DESTDIR)$(mandir)'/$$page; then rm -f '$(DESTDIR)$(mandir)'/$$page; fi; \
	done
	for unit in $(UNITS); do rm -f '$(DESTDIR)$(unitdir)'/$$unit || exit 1; done
	rm -f '$(DESTDIR)$(libdir)/sysusers.d/fardel.conf' '$(DESTDIR)$(libdir)/tmpfiles.d/fardel.conf'
	if cmp -s '$(DESTDIR)$(confdir)/fardel.conf' '$(DESTDIR)$(confdir)/fardel.conf.sample'; then rm -f '$(DESTDIR)$(confdir)/fardel.conf'; fi
	rm -f '$(DESTDIR)$(sbindir)/fardel' '$(DESTDIR)$(mandir)/man8/fardel.8' '$(DESTDIR)$(mandir)/man5/fardel.conf.5' '$(DESTDIR)$(compdir)/fardel' '$(DESTDIR)$(confdir)/fardel.conf.sample'
	if [ -d '$(DESTDIR)$(confdir)' ]; then rmdir '$(DESTDIR)$(confdir)' 2>/dev/null || :; fi

deb:
	@sh packaging/deb.sh build/deb

clean:
	rm -rf build fardel

-include $(OBJECTS:.o=.d) $(TEST_OBJECTS:.o=.d) $(E2E_OBJECTS:.o=.d) $(CONFORMANCE_OBJECTS:.o=.d) $(B)/bench/judge.d $(FUZZERS:%.c=$(B)/%.d)

FORCE:
.PHONY: all objects run unit check e2e bench bench-accept bench-relay bench-counts bench-latency bench-scale bench-judge conformance crash asan clang cross valgrind power faults soak fuzz fuzzers lint deps install install-mta install-units uninstall deb clean FORCE
.DELETE_ON_ERROR:
.SECONDARY:

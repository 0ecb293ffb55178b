"""A filter by python3-milter (libmilter): filter.py SOCKET. What it does to a message stands in its field X-Do, in words."""
import sys

import Milter


class Filter(Milter.Base):
    def envfrom(self, sender, *params):
        self.words = []
        return Milter.REJECT if "refuse-me" in sender else Milter.CONTINUE

    def envrcpt(self, to, *params):
        if "full" in to:
            self.setreply("452", "4.2.2", "full, says the filter")
            return Milter.TEMPFAIL
        return Milter.CONTINUE

    def header(self, name, value):
        if name.lower() == "x-do":
            self.words += value.split()
        return Milter.CONTINUE

    def eom(self):
        for word in self.words:
            if word == "body":
                self.replacebody("another body\r\n")
            elif word == "fields":
                self.addheader("X-Added", "at the end")
                self.addheader("X-First", "one\n two", 0)
                self.chgheader("X-Do", 1, "done")
                self.chgheader("X-Gone", 2, "")
            elif word == "rcpt":
                self.addrcpt("<sender@here.test>")
                self.delrcpt("<user@here.test>")
            elif word == "from":
                self.chgfrom("<other@there.test>")
            elif word == "hold":
                self.quarantine("looked odd")
            elif word == "refuse":
                self.setreply("554", "5.7.77", "refused, says the filter")
                return Milter.REJECT
            elif word == "drop":
                return Milter.DISCARD
            elif word == "work":
                for _ in range(3):
                    self.progress()
        return Milter.CONTINUE


Milter.factory = Filter
Milter.set_flags(Milter.ADDHDRS + Milter.CHGHDRS + Milter.CHGBODY + Milter.ADDRCPT + Milter.DELRCPT + Milter.CHGFROM + Milter.QUARANTINE)
Milter.runmilter("filter", sys.argv[1], 30)

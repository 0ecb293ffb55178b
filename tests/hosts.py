"""The hosts that mail goes to in tests/power/cut.py and tests/faults/fail.py: one takes all, one puts off whom it is told to, one refuses all."""
import re
import socketserver
import threading


class Host(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            self.talk()
        except OSError:
            pass

    def say(self, *lines):
        self.wfile.write(b"".join(b"%s\r\n" % line.encode() for line in lines))

    def talk(self):
        recipients = []
        self.say("220 host")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.say("250-host", "250-PIPELINING", "250 ENHANCEDSTATUSCODES")
            elif verb == b"RCPT":
                recipient = re.search(rb"<(.*?)>", line)[1].decode()
                if self.server.kind == "never":
                    self.say("550 5.1.1 nobody")
                elif self.server.kind == "later" and self.server.puts_off(recipient):
                    self.say("451 4.7.1 come again")
                else:
                    recipients.append(recipient)
                    self.say("250 2.1.5 fine")
            elif verb == b"DATA" and not recipients:
                self.say("503 5.5.1 nobody")
            elif verb == b"DATA":
                self.say("354 go")
                data = []
                while data[-1:] != [b".\r\n"]:
                    data.append(self.rfile.readline())
                    if not data[-1]:
                        return
                self.server.served(b"".join(line[1:] if line[:1] == b"." else line for line in data[:-1]), recipients)
                recipients = []
                self.say("250 2.0.0 taken")
            elif verb == b"QUIT":
                self.say("221 bye")
                return
            else:
                recipients = []
                self.say("250 2.0.0 fine")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


def start(puts_off, served):
    """Their ports, by kind: takes, later, never. puts_off(recipient) says whether it has to come again; served(message, recipients) is
    told of what was taken, before its 250."""
    ports = {}
    for kind in ("takes", "later", "never"):
        server = Server(("127.0.0.1", 0), Host)
        server.kind, server.puts_off, server.served = kind, puts_off, served
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ports[kind] = server.server_address[1]
    return ports

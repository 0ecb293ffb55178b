# Behind HAProxy: the client is whom it names, in clear and inside TLS.

it behind_haproxy "behind HAProxy, with send-proxy and send-proxy-v2, the log and the trace name the client and not the proxy"
behind_haproxy() {
	need_haproxy
	free_port
	one=$port
	free_port
	two=$port
	serve here "proxy_from = 127.0.0.1"
	cat >"$T/haproxy.cfg" <<-TEXT
	defaults
	    mode tcp
	    timeout connect 10s
	    timeout client 30s
	    timeout server 30s
	frontend one
	    bind 127.0.0.1:$one
	    default_backend one
	backend one
	    server here 127.0.0.1:$(port_of here) send-proxy
	frontend two
	    bind 127.0.0.1:$two
	    default_backend two
	backend two
	    source 127.0.0.1
	    server here 127.0.0.1:$(port_of here) send-proxy-v2
	TEXT
	begin haproxy env LD_LIBRARY_PATH="$libraries" "$tree/usr/sbin/haproxy" -db -f "$T/haproxy.cfg"
	within 20 "haproxy" answers "$one"
	within 20 "haproxy" answers "$two"
	must "a message by version 1" inject -p "$one" -n 3 -t user@here.test
	must "a message by version 2" inject -p "$two" -n 4 -t user@here.test
	within 30 "all of them" arrived here user 7
	must "the client is named" [ "$(grep -c ' received .* client=127.0.0.1 ' "$T/here.log")" = 7 ]
}

/* The floor: the least work that gives the kernel state of a star of hosts.
 *
 *     floor HOSTS
 *
 * One anonymous namespace holds a bridge, HOSTS more hold one host each: `lo` and `eth0` up, an IPv4 address and an
 * IPv6 address without duplicate address detection. Every veth pair is born with both ends in place, enslaved and its
 * near end up in one message; many messages go in one send and only the last of a batch asks for an acknowledgement.
 * The bridge is raised last. No name, no file, no thread and no process is made: what an engine adds is its own.
 *
 * On stdout, one JSON object a line:
 *
 *     {"create_s": S, "namespaces": ["/proc/PID/fd/4", ...]}    the star stands; S is in seconds, process start left out
 *     {"release_s": S}                                           every reference was let go
 *
 * Between the two it waits for a byte or the end of stdin, so that a watcher can take note of the namespaces. The
 * kernel frees them later, in the background: see gone.py. Any failure ends the process, and the star with it.
 *
 * Sources: rtnetlink(7), veth(4), namespaces(7), drivers/net/veth.c, net/core/rtnetlink.c (rtnl_newlink).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	MAX_HOSTS = 4000,
	BATCH_BYTES = 32 * 1024,
	MESSAGE_BYTES = 512, /* more than the longest message here */
	LO = 1,              /* every namespace is born with it */
	BRIDGE = 2,
	ETH0 = 3,        /* unlike the near end's: equal indexes of a veth pair make the news of a carrier late */
	FIRST_PORT = 10, /* the near end of host i is FIRST_PORT + i */
};

struct place {
	int ns;      /* the namespace itself, -1 where nobody needs it */
	int netlink; /* a socket stays in the namespace in which it was opened */
};

struct batch {
	int netlink;
	const char *what; /* in words, for a failure */
	uint32_t sequence;
	size_t length;
	struct nlmsghdr *last;
	_Alignas(NLMSG_ALIGNTO) char bytes[BATCH_BYTES];
};

static _Noreturn void fail(const char *what, int code)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(code));
	exit(1);
}

static int must(int result, const char *what)
{
	if (result < 0)
		fail(what, errno);
	return result;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- batches of messages ------------------------------------------------------------------------------------- */

static void await_last(struct batch *b)
{
	char answer[8192];

	for (;;) {
		int length = must(recv(b->netlink, answer, sizeof answer, 0), b->what);

		for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, (unsigned)length); h = NLMSG_NEXT(h, length)) {
			const struct nlmsgerr *said = NLMSG_DATA(h);

			if (h->nlmsg_type == NLMSG_ERROR && said->error)
				fail(b->what, -said->error);
			if (h->nlmsg_seq == b->sequence)
				return;
		}
	}
}

static void flush(struct batch *b)
{
	if (!b->length)
		return;
	b->last->nlmsg_flags |= NLM_F_ACK; /* an error is answered in any case */
	must(send(b->netlink, b->bytes, b->length, 0), b->what);
	await_last(b);
	b->length = 0;
}

static void begin(struct batch *b, uint16_t type, uint16_t flags, const void *body, size_t size)
{
	if (b->length + MESSAGE_BYTES > sizeof b->bytes)
		flush(b);
	b->last = (void *)(b->bytes + b->length);
	*b->last = (struct nlmsghdr){
		.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++b->sequence, .nlmsg_len = NLMSG_HDRLEN};
	memset(b->last + 1, 0, MESSAGE_BYTES - NLMSG_HDRLEN);
	memcpy(NLMSG_DATA(b->last), body, size);
	b->last->nlmsg_len += NLMSG_ALIGN(size);
	b->length += b->last->nlmsg_len;
}

static void grow(struct batch *b, size_t size)
{
	b->last->nlmsg_len += NLMSG_ALIGN(size);
	b->length += NLMSG_ALIGN(size);
}

static struct rtattr *put(struct batch *b, uint16_t type, const void *value, size_t size)
{
	struct rtattr *a = (void *)(b->bytes + b->length);

	*a = (struct rtattr){.rta_type = type, .rta_len = RTA_LENGTH(size)};
	if (size)
		memcpy(RTA_DATA(a), value, size);
	grow(b, a->rta_len);
	return a;
}

static void put_number(struct batch *b, uint16_t type, uint32_t value) { put(b, type, &value, sizeof value); }

static void put_name(struct batch *b, uint16_t type, const char *name) { put(b, type, name, strlen(name) + 1); }

static void close_nest(struct batch *b, struct rtattr *a) { a->rta_len = (char *)b->bytes + b->length - (char *)a; }

/* --- the messages -------------------------------------------------------------------------------------------- */

static void raise_link(struct batch *b, int index)
{
	struct ifinfomsg link = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};

	begin(b, RTM_NEWLINK, 0, &link, sizeof link);
}

static void add_bridge(struct batch *b)
{
	struct ifinfomsg link = {.ifi_index = BRIDGE};
	uint8_t off = 0;

	begin(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
	put_name(b, IFLA_IFNAME, "br0");
	struct rtattr *info = put(b, IFLA_LINKINFO, NULL, 0);
	put_name(b, IFLA_INFO_KIND, "bridge");
	struct rtattr *data = put(b, IFLA_INFO_DATA, NULL, 0);
	put_number(b, IFLA_BR_FORWARD_DELAY, 0);
	put_number(b, IFLA_BR_STP_STATE, 0);
	put(b, IFLA_BR_MCAST_SNOOPING, &off, sizeof off);
	close_nest(b, data);
	close_nest(b, info);
}

static void put_one_queue(struct batch *b)
{
	put_number(b, IFLA_NUM_TX_QUEUES, 1); /* more than one costs an expedited RCU wait each */
	put_number(b, IFLA_NUM_RX_QUEUES, 1);
}

static void add_pair(struct batch *b, int host, int host_ns)
{
	struct ifinfomsg near = {.ifi_index = FIRST_PORT + host, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	struct ifinfomsg far = {.ifi_index = ETH0}; /* not up: its peer is not there yet (ENOTCONN) */
	char name[IFNAMSIZ];

	snprintf(name, sizeof name, "h%d", host);
	begin(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &near, sizeof near);
	put_name(b, IFLA_IFNAME, name);
	put_number(b, IFLA_MASTER, BRIDGE);
	put_one_queue(b);
	struct rtattr *info = put(b, IFLA_LINKINFO, NULL, 0);
	put_name(b, IFLA_INFO_KIND, "veth");
	struct rtattr *data = put(b, IFLA_INFO_DATA, NULL, 0);
	struct rtattr *peer = put(b, VETH_INFO_PEER, NULL, 0);
	memcpy(RTA_DATA(peer), &far, sizeof far);
	grow(b, sizeof far);
	put_name(b, IFLA_IFNAME, "eth0");
	put_number(b, IFLA_NET_NS_FD, host_ns);
	put_one_queue(b);
	close_nest(b, peer);
	close_nest(b, data);
	close_nest(b, info);
}

static void add_address(struct batch *b, uint8_t family, uint8_t prefix, const void *address, size_t size)
{
	struct ifaddrmsg head = {.ifa_family = family, .ifa_prefixlen = prefix, .ifa_index = ETH0};

	head.ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0;
	begin(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
	put(b, IFA_LOCAL, address, size);
	put(b, IFA_ADDRESS, address, size);
}

/* --- the star ------------------------------------------------------------------------------------------------ */

static struct place enter_new_namespace(void)
{
	struct place p;

	must(unshare(CLONE_NEWNET), "a network namespace");
	p.ns = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "/proc/self/ns/net");
	p.netlink = must(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), "a netlink socket");
	return p;
}

static void configure_host(struct batch *b, int host)
{
	struct in_addr v4 = {.s_addr = htonl(0x0a000001u + (uint32_t)host)}; /* 10.0.0.1/16 and on */
	struct in6_addr v6 = {.s6_addr = {0x20, 0x01, 0x0d, 0xb8}};          /* 2001:db8::1/64 and on */

	v6.s6_addr32[3] = htonl(1u + (uint32_t)host);
	raise_link(b, LO);
	raise_link(b, ETH0);
	add_address(b, AF_INET, 16, &v4, sizeof v4);
	add_address(b, AF_INET6, 64, &v6, sizeof v6);
	flush(b);
}

static void create(struct place *bridge, struct place *hosts, int count)
{
	static struct batch b;

	*bridge = enter_new_namespace();
	for (int i = 0; i < count; i++)
		hosts[i] = enter_new_namespace();
	b = (struct batch){.netlink = bridge->netlink, .what = "the bridge and the veth pairs"};
	raise_link(&b, LO);
	add_bridge(&b);
	for (int i = 0; i < count; i++)
		add_pair(&b, i, hosts[i].ns);
	flush(&b);
	b.what = "a host's links and addresses";
	for (int i = 0; i < count; i++) {
		b.netlink = hosts[i].netlink;
		configure_host(&b, i);
	}
	b.netlink = bridge->netlink;
	raise_link(&b, BRIDGE); /* last: until then no host's neighbour discovery is flooded to all the others */
	flush(&b);
}

static void release(int home, int first_fd)
{
	must(setns(home, CLONE_NEWNET), "the way home");
	must(close_range(first_fd, ~0U, 0), "letting go"); /* all at once, so that the kernel's cleanup can batch them */
}

static void allow_open_files(rlim_t wanted)
{
	struct rlimit limit;

	must(getrlimit(RLIMIT_NOFILE, &limit), "RLIMIT_NOFILE");
	if (limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted;
	if (limit.rlim_max < wanted)
		limit.rlim_max = wanted;
	must(setrlimit(RLIMIT_NOFILE, &limit), "raising RLIMIT_NOFILE");
}

static void print_created(double seconds, const struct place *bridge, const struct place *hosts, int count)
{
	printf("{\"create_s\": %.6f, \"namespaces\": [\"/proc/%d/fd/%d\"", seconds, getpid(), bridge->ns);
	for (int i = 0; i < count; i++)
		printf(", \"/proc/%d/fd/%d\"", getpid(), hosts[i].ns);
	printf("]}\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct place bridge, hosts[MAX_HOSTS];
	int count = argc == 2 ? atoi(argv[1]) : 0;
	double start;

	if (count < 1 || count > MAX_HOSTS) {
		fprintf(stderr, "usage: floor HOSTS (1 to %d)\n", MAX_HOSTS);
		return 2;
	}
	allow_open_files(2 * (rlim_t)count + 32);
	int home = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "/proc/self/ns/net");

	start = now();
	create(&bridge, hosts, count);
	print_created(now() - start, &bridge, hosts, count);

	getchar();

	start = now();
	release(home, bridge.ns);
	printf("{\"release_s\": %.6f}\n", now() - start);
	return 0;
}

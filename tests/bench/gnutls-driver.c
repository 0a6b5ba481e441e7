/*
 * A client of Pacemaker's remote executor on GnuTLS, in the manner of Pacemaker's own: priority
 * NORMAL:+DHE-PSK:+PSK, user "lrmd", the key file's bytes as the key; every message is a header of
 * 40 bytes and a payload in two gnutls_record_send() calls; no socket option is set.
 *
 *   cc -O2 -Wall -o gnutls-driver gnutls-driver.c -lgnutls
 *
 *   gnutls-driver listening PORT SECONDS ROOT PROGRAM     exec to the first accepted connection
 *   gnutls-driver connect   PORT KEY N                    connect + TLS + register, N times
 *   gnutls-driver roundtrip PORT KEY N                    request and reply, N times
 *   gnutls-driver ops       PORT KEY N FLIGHT AGENT PID   one-shot monitors, FLIGHT at a time
 *   gnutls-driver recurring PORT KEY N INTERVAL_MS AGENT  N monitors, until stdin ends
 *   gnutls-driver stall     PORT KEY SECONDS              one client hangs: when is another served?
 *   gnutls-driver records   KEY                           raw TLS records for tests (see below)
 *
 * PORT is on 127.0.0.1. AGENT is PROVIDER:TYPE. Each mode but the last prints one JSON object; times
 * are milliseconds. A failure is one line on standard error and exit code 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HEADER 40
#define PATIENCE_S 90

static gnutls_psk_client_credentials_t credentials;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("gnutls-driver: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void load_key(const char *path)
{
    static unsigned char bytes[1 << 17];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof bytes);
    if (n <= 0)
        die("key file %s: %s", path, strerror(errno));
    close(fd);
    const char *user = getenv("DRIVER_IDENTITY");
    gnutls_datum_t key = {.data = bytes, .size = (unsigned)n};
    gnutls_psk_allocate_client_credentials(&credentials);
    int rc = gnutls_psk_set_client_credentials(credentials, user ? user : "lrmd", &key, GNUTLS_PSK_KEY_RAW);
    if (rc < 0)
        die("key: %s", gnutls_strerror(rc));
}

/* One connection and what has been read from it but not yet used. */
struct client {
    int fd;
    gnutls_session_t tls;
    char *in;
    size_t have, room;
    long next_id;
};

static int tcp_connect(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

/* Returns a GnuTLS error; the session is set up in any case. */
static int handshake(struct client *c, int fd)
{
    const char *priority = getenv("DRIVER_PRIORITY"), *where = NULL;
    c->fd = fd;
    gnutls_init(&c->tls, GNUTLS_CLIENT);
    int rc = gnutls_priority_set_direct(c->tls, priority ? priority : "NORMAL:+DHE-PSK:+PSK", &where);
    if (rc < 0)
        die("priority: %s near '%s'", gnutls_strerror(rc), where);
    gnutls_transport_set_int(c->tls, fd);
    gnutls_credentials_set(c->tls, GNUTLS_CRD_PSK, credentials);
    if (priority != NULL && strstr(priority, "ANON") != NULL) {
        gnutls_anon_client_credentials_t nobody;
        gnutls_anon_allocate_client_credentials(&nobody);
        gnutls_credentials_set(c->tls, GNUTLS_CRD_ANON, nobody);
    }
    gnutls_handshake_set_timeout(c->tls, PATIENCE_S * 1000);
    do
        rc = gnutls_handshake(c->tls);
    while (rc == GNUTLS_E_INTERRUPTED || rc == GNUTLS_E_AGAIN);
    return rc;
}

static void send_all(struct client *c, const void *data, size_t length)
{
    const char *at = data;
    while (length > 0) {
        ssize_t rc = gnutls_record_send(c->tls, at, length);
        if (rc == GNUTLS_E_INTERRUPTED || rc == GNUTLS_E_AGAIN)
            continue;
        if (rc < 0)
            die("send: %s", gnutls_strerror((int)rc));
        at += rc;
        length -= (size_t)rc;
    }
}

static void make_header(unsigned char header[HEADER], uint64_t id, uint32_t payload)
{
    uint32_t words[10] = {0xBADADBBDu, 1, 0, 0, 0, 0, HEADER + payload, HEADER, 0, payload};
    memcpy(words + 2, &id, sizeof id);
    memcpy(header, words, HEADER);
}

static void send_message(struct client *c, const char *xml)
{
    static uint64_t id = 0;
    unsigned char header[HEADER];
    uint32_t length = (uint32_t)strlen(xml) + 1;
    make_header(header, ++id, length);
    send_all(c, header, HEADER);
    send_all(c, xml, length);
}

/* Sends one request; returns its number. `data` is the inside of lrmd_calldata. */
static long request(struct client *c, const char *op, int timeout, int options, const char *data)
{
    static char xml[65536];
    long id = ++c->next_id;
    int n = snprintf(xml, sizeof xml,
                     "<lrmd_command t=\"lrmd\" lrmd_op=\"%s\" lrmd_timeout=\"%d\" lrmd_callopt=\"%d\""
                     " lrmd_remote_msg_id=\"%ld\" lrmd_remote_msg_type=\"request\">"
                     "<lrmd_calldata>%s</lrmd_calldata></lrmd_command>",
                     op, timeout, options, id, data);
    if (n < 0 || (size_t)n >= sizeof xml)
        die("request too long");
    send_message(c, xml);
    return id;
}

/* Reads more bytes; false at the end of the connection. */
static bool fill(struct client *c)
{
    if (c->room - c->have < 16384) {
        c->room = c->room * 2 + 32768;
        c->in = realloc(c->in, c->room);
        if (c->in == NULL)
            die("out of memory");
    }
    for (;;) {
        ssize_t rc = gnutls_record_recv(c->tls, c->in + c->have, c->room - c->have);
        if (rc == GNUTLS_E_INTERRUPTED)
            continue;
        if (rc == GNUTLS_E_AGAIN)
            die("no answer within %d s", PATIENCE_S);
        if (rc < 0)
            die("receive: %s", gnutls_strerror((int)rc));
        c->have += (size_t)rc;
        return rc > 0;
    }
}

/* Next message; valid until the next call. */
static const char *receive(struct client *c)
{
    static char *message = NULL;
    uint32_t total;
    for (;;) {
        if (c->have >= HEADER) {
            memcpy(&total, c->in + 24, sizeof total);
            if (c->have >= total)
                break;
        }
        if (!fill(c))
            die("the daemon closed the connection");
    }
    free(message);
    message = strndup(c->in + HEADER, total - HEADER);
    c->have -= total;
    memmove(c->in, c->in + total, c->have);
    return message;
}

/* Value of an attribute as a number; `missing` if it is not there. */
static long number(const char *xml, const char *attribute, long missing)
{
    char key[64];
    snprintf(key, sizeof key, " %s=\"", attribute);
    const char *at = strstr(xml, key);
    return at == NULL ? missing : atol(at + strlen(key));
}

static bool has(const char *xml, const char *text)
{
    return strstr(xml, text) != NULL;
}

/* Waits for the reply to a request; returns its lrmd_rc. */
static long reply(struct client *c, long id)
{
    for (;;) {
        const char *xml = receive(c);
        if (has(xml, "lrmd_remote_msg_type=\"reply\"") && number(xml, "lrmd_remote_msg_id", -1) == id)
            return number(xml, "lrmd_rc", -1);
    }
}

static void enter(struct client *c, int port)
{
    memset(c, 0, sizeof *c);
    int fd = tcp_connect(port);
    if (fd < 0)
        die("connect to port %d: %s", port, strerror(errno));
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    int rc = handshake(c, fd);
    if (rc < 0)
        die("handshake: %s", gnutls_strerror(rc));
    c->next_id = 1;
    send_message(c, "<lrmd_command t=\"lrmd\" lrmd_op=\"register\" lrmd_clientname=\"gnutls-driver\""
                    " lrmd_protocol_version=\"1.1\" lrmd_remote_msg_id=\"1\""
                    " lrmd_remote_msg_type=\"request\"/>");
    long answer = reply(c, 1);
    if (answer != 0)
        die("register: %ld", answer);
}

static void leave(struct client *c)
{
    gnutls_bye(c->tls, GNUTLS_SHUT_WR);
    close(c->fd);
    gnutls_deinit(c->tls);
    free(c->in);
}

/* Sends the request and does not wait for its reply. */
static long ask_for_resource(struct client *c, const char *name, const char *agent)
{
    char data[512];
    const char *colon = strchr(agent, ':');
    if (colon == NULL)
        die("agent '%s': PROVIDER:TYPE expected", agent);
    snprintf(data, sizeof data,
             "<lrmd_rsc lrmd_origin=\"driver\" lrmd_rsc_id=\"%s\" lrmd_class=\"ocf\""
             " lrmd_provider=\"%.*s\" lrmd_type=\"%s\"/>",
             name, (int)(colon - agent), agent, colon + 1);
    return request(c, "lrmd_rsc_register", 30000, 3, data);
}

static void register_resource(struct client *c, const char *name, const char *agent)
{
    long rc = reply(c, ask_for_resource(c, name, agent));
    if (rc != 0)
        die("lrmd_rsc_register %s: %ld", name, rc);
}

static long monitor(struct client *c, const char *name, long interval)
{
    char data[768];
    snprintf(data, sizeof data,
             "<lrmd_rsc lrmd_origin=\"driver\" lrmd_rsc_id=\"%s\" lrmd_rsc_action=\"monitor\""
             " lrmd_rsc_userdata_str=\"1:2:0:5e1cbb60-3c9c-4f0e-8d0f-6d4f7f7a6b11\""
             " lrmd_rsc_interval=\"%ld\" lrmd_timeout=\"20000\" lrmd_rsc_start_delay=\"0\">"
             "<attributes CRM_meta_timeout=\"20000\" CRM_meta_interval=\"%ld\" CRM_meta_name=\"monitor\""
             " CRM_meta_on_node=\"alone\" crm_feature_set=\"3.16.1\"/></lrmd_rsc>",
             name, interval, interval);
    return request(c, "lrmd_rsc_exec", 20000, 4, data);
}

static void print_times(const char *name, const double *times, long n)
{
    printf("\"%s\": [", name);
    for (long i = 0; i < n; i++)
        printf("%s%.3f", i ? ", " : "", times[i]);
    printf("]");
}

static double *times_for(long n)
{
    double *times = n > 0 ? calloc((size_t)n, sizeof *times) : NULL;
    if (times == NULL)
        die("a number of repetitions is expected");
    return times;
}

static long argument(char **argv, int i)
{
    char *end;
    long value = argv[i] ? strtol(argv[i], &end, 10) : -1;
    if (argv[i] == NULL || *end != 0 || value < 0)
        die("argument %d: a number is expected", i);
    return value;
}

static int mode_listening(char **argv)
{
    int port = (int)argument(argv, 2);
    double limit = (double)argument(argv, 3) * 1e3;
    if (argv[4] == NULL || argv[5] == NULL)
        die("ROOT PROGRAM expected");
    double begin = now_ms(), end = 0;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0), dup2(null, 1), dup2(null, 2);
        if (chroot(argv[4]) == 0 && chdir("/") == 0) {
            char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL};
            execle(argv[5], argv[5], (char *)NULL, environment);
        }
        _exit(127);
    }
    while (end == 0) {
        int status, fd = tcp_connect(port);
        if (fd >= 0) {
            end = now_ms();
            close(fd);
        } else if (waitpid(child, &status, WNOHANG) == child) {
            die("the daemon ended while starting (wait status %d)", status);
        } else if (now_ms() - begin > limit) {
            kill(child, SIGKILL);
            die("not listening after %.0f s", limit / 1e3);
        } else {
            poll(NULL, 0, 1); /* the grain of this measure: 1 ms */
        }
    }
    struct rusage usage;
    kill(child, SIGKILL);
    wait4(child, NULL, 0, &usage);
    printf("{\"listening_ms\": %.3f, \"cpu_ms\": %.3f}\n", end - begin,
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3);
    return 0;
}

static int mode_connect(char **argv)
{
    int port = (int)argument(argv, 2);
    long n = argument(argv, 4);
    double *times = times_for(n);
    for (long i = 0; i < n; i++) {
        struct client c;
        double begin = now_ms();
        enter(&c, port);
        times[i] = now_ms() - begin;
        leave(&c);
    }
    printf("{");
    print_times("connect_ms", times, n);
    printf("}\n");
    return 0;
}

static int mode_roundtrip(char **argv)
{
    struct client c;
    long n = argument(argv, 4);
    double *info = times_for(n), *poke = times_for(n);
    enter(&c, (int)argument(argv, 2));
    register_resource(&c, "r0", "alone:null");
    for (long i = 0; i < n; i++) {
        double begin = now_ms();
        if (reply(&c, request(&c, "lrmd_rsc_info", 30000, 0, "<lrmd_rsc lrmd_rsc_id=\"r0\"/>")) != 0)
            die("lrmd_rsc_info failed");
        info[i] = now_ms() - begin;
    }
    for (long i = 0; i < n; i++) {
        double begin = now_ms();
        reply(&c, request(&c, "lrmd_rsc_poke", 30000, 0, "<lrmd_rsc lrmd_origin=\"driver\"/>"));
        while (!has(receive(&c), "lrmd_op=\"lrmd_rsc_poke\""))
            ;
        poke[i] = now_ms() - begin;
    }
    printf("{");
    print_times("info_ms", info, n);
    printf(", ");
    print_times("poke_notify_ms", poke, n);
    printf("}\n");
    leave(&c);
    return 0;
}

struct ticks {
    long own, children;
};

/* Processor time of a process and of the children it has waited for. */
static struct ticks ticks_of(const char *pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        die("%s: %s", path, strerror(errno));
    close(fd);
    text[n] = 0;
    unsigned long user, system;
    long child_user, child_system;
    char *at = strrchr(text, ')');
    if (at == NULL || sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &user, &system,
                             &child_user, &child_system) != 4)
        die("%s: not understood", path);
    return (struct ticks){(long)(user + system), child_user + child_system};
}

static int mode_ops(char **argv)
{
    struct client c;
    long n = argument(argv, 4), flight = argument(argv, 5), begun = 0, done = 0, good = 0;
    const char *agent = argv[6], *pid = argv[6] ? argv[7] : NULL;
    char name[32];
    if (pid == NULL || flight < 1)
        die("N FLIGHT AGENT PID expected");
    enter(&c, (int)argument(argv, 2));
    long last = 0;
    for (long i = 0; i < flight; i++) {
        snprintf(name, sizeof name, "r%ld", i);
        last = ask_for_resource(&c, name, agent);
    }
    reply(&c, last);
    struct ticks before = ticks_of(pid);
    double begin = now_ms();
    for (; begun < flight && begun < n; begun++) {
        snprintf(name, sizeof name, "r%ld", begun);
        monitor(&c, name, 0);
    }
    while (done < n) {
        const char *xml = receive(&c);
        if (!has(xml, "lrmd_op=\"lrmd_rsc_exec\"") || !has(xml, "lrmd_remote_msg_type=\"notify\""))
            continue;
        long rc = number(xml, "lrmd_exec_rc", -1);
        good += number(xml, "lrmd_exec_op_status", -1) == 0 && (rc == 0 || rc == 7);
        done++;
        if (begun++ < n) {
            const char *at = strstr(xml, " lrmd_rsc_id=\"");
            if (at == NULL || sscanf(at, " lrmd_rsc_id=\"%31[^\"]", name) != 1)
                die("a result without a resource");
            monitor(&c, name, 0);
        }
    }
    double elapsed = now_ms() - begin;
    struct ticks after = ticks_of(pid);
    double tick = 1e3 / (double)sysconf(_SC_CLK_TCK);
    printf("{\"ops\": %ld, \"good\": %ld, \"in_flight\": %ld, \"elapsed_ms\": %.1f, \"ops_per_s\": %.2f,"
           " \"daemon_cpu_ms_per_1000\": %.1f, \"agents_cpu_ms_per_1000\": %.1f}\n",
           n, good, flight, elapsed, (double)n / elapsed * 1e3, (double)(after.own - before.own) * tick / (double)n * 1e3,
           (double)(after.children - before.children) * tick / (double)n * 1e3);
    leave(&c);
    return 0;
}

static int mode_recurring(char **argv)
{
    struct client c;
    long n = argument(argv, 4), interval = argument(argv, 5), first = 0;
    char name[32];
    if (argv[6] == NULL)
        die("N INTERVAL_MS AGENT expected");
    enter(&c, (int)argument(argv, 2));
    for (long i = 0; i < n; i++) {
        snprintf(name, sizeof name, "r%ld", i);
        ask_for_resource(&c, name, argv[6]);
        monitor(&c, name, interval);
    }
    while (first < n) {
        const char *xml = receive(&c);
        first += has(xml, "lrmd_op=\"lrmd_rsc_exec\"") && has(xml, "lrmd_remote_msg_type=\"notify\"");
    }
    printf("{\"recurring\": %ld, \"interval_ms\": %ld}\n", n, interval);
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
    leave(&c);
    return 0;
}

static int mode_stall(char **argv)
{
    struct client hanging, other;
    int port = (int)argument(argv, 2);
    unsigned char header[HEADER];
    char half[500];
    enter(&other, port);
    enter(&hanging, port);
    register_resource(&other, "r0", "alone:null");
    /* Header and half of the payload, and nothing any more. */
    memset(half, ' ', sizeof half);
    half[0] = '<';
    make_header(header, 99, 2 * sizeof half);
    send_all(&hanging, header, HEADER);
    send_all(&hanging, half, sizeof half);
    /* Delayed acknowledgements hold the second half of that back: only once it has arrived and was
     * looked at does the question make sense. */
    int waiting = 1;
    while (waiting > 0 && ioctl(hanging.fd, SIOCOUTQ, &waiting) == 0)
        poll(NULL, 0, 1);
    poll(NULL, 0, 200);
    double begin = now_ms();
    long rc = reply(&other, request(&other, "lrmd_rsc_info", 30000, 0, "<lrmd_rsc lrmd_rsc_id=\"r0\"/>"));
    double served = now_ms() - begin;
    struct client late;
    begin = now_ms();
    enter(&late, port);
    printf("{\"served_ms\": %.3f, \"rc\": %ld, \"new_connection_ms\": %.3f}\n", served, rc, now_ms() - begin);
    return 0;
}

/*
 * records: for tests that speak the protocol themselves. File descriptor 0 is a connected TCP socket,
 * 1 a stream socket towards the test. Both directions of the latter carry: kind (1 byte), length (4
 * bytes, native order), bytes.
 *   from the test: S send as one TLS record; B send close_notify; R send these bytes below TLS
 *   to the test:   H handshake done (description); F handshake failed (reason); D one TLS record's data;
 *                  E close_notify received; X connection broken (reason)
 * DRIVER_PRIORITY and DRIVER_IDENTITY replace the priority string and the user.
 */
static void tell(char kind, const void *data, size_t length)
{
    char frame[5 + 16384 + 64];
    uint32_t n = (uint32_t)length;
    frame[0] = kind;
    memcpy(frame + 1, &n, 4);
    memcpy(frame + 5, data, length);
    for (size_t at = 0; at < 5 + length;) {
        ssize_t rc = write(1, frame + at, 5 + length - at);
        if (rc <= 0)
            exit(0);
        at += (size_t)rc;
    }
}

static void read_exactly(void *data, size_t length)
{
    for (size_t at = 0; at < length;) {
        ssize_t rc = read(1, (char *)data + at, length - at);
        if (rc <= 0)
            exit(0);
        at += (size_t)rc;
    }
}

static int mode_records(void)
{
    struct client c = {0};
    char data[16384 + 64];
    int rc = handshake(&c, 0);
    if (rc < 0) {
        int n = snprintf(data, sizeof data, "%s", gnutls_strerror(rc));
        if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
            n = snprintf(data, sizeof data, "alert %d %s", gnutls_alert_get(c.tls),
                         gnutls_alert_get_name(gnutls_alert_get(c.tls)));
        tell('F', data, (size_t)n);
        return 0;
    }
    char *description = gnutls_session_get_desc(c.tls);
    tell('H', description, strlen(description));
    bool open = true;
    for (;;) {
        struct pollfd fds[2] = {{.fd = open ? 0 : -1, .events = POLLIN}, {.fd = 1, .events = POLLIN}};
        bool pending = open && gnutls_record_check_pending(c.tls) > 0;
        if (poll(fds, 2, pending ? 0 : -1) < 0)
            continue;
        if (pending || fds[0].revents) {
            ssize_t n = gnutls_record_recv(c.tls, data, sizeof data);
            if (n > 0) {
                tell('D', data, (size_t)n);
            } else if (n == 0) {
                tell('E', "", 0);
                open = false;
            } else if (n != GNUTLS_E_AGAIN && n != GNUTLS_E_INTERRUPTED) {
                tell('X', gnutls_strerror((int)n), strlen(gnutls_strerror((int)n)));
                open = false;
            }
        }
        if (fds[1].revents) {
            char kind;
            uint32_t length;
            read_exactly(&kind, 1);
            read_exactly(&length, 4);
            char *bytes = malloc(length + 1);
            read_exactly(bytes, length);
            if (kind == 'S')
                for (uint32_t at = 0; at < length;) {
                    ssize_t n = gnutls_record_send(c.tls, bytes + at, length - at);
                    if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
                        continue;
                    if (n < 0) {
                        tell('X', gnutls_strerror((int)n), strlen(gnutls_strerror((int)n)));
                        open = false;
                        break;
                    }
                    at += (uint32_t)n;
                }
            else if (kind == 'B')
                gnutls_bye(c.tls, GNUTLS_SHUT_WR);
            else if (kind == 'R' && write(0, bytes, length) < 0)
                tell('X', "write", 5);
            free(bytes);
        }
    }
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "listening") == 0 && argc == 6)
        return mode_listening(argv);
    if (strcmp(mode, "records") == 0 && argc == 3) {
        load_key(argv[2]);
        return mode_records();
    }
    if (argc < 5)
        die("usage: see the head of gnutls-driver.c");
    load_key(argv[3]);
    if (strcmp(mode, "connect") == 0)
        return mode_connect(argv);
    if (strcmp(mode, "roundtrip") == 0)
        return mode_roundtrip(argv);
    if (strcmp(mode, "ops") == 0)
        return mode_ops(argv);
    if (strcmp(mode, "recurring") == 0)
        return mode_recurring(argv);
    if (strcmp(mode, "stall") == 0) {
        alarm((unsigned)argument(argv, 4));
        return mode_stall(argv);
    }
    die("unknown mode '%s'", mode);
}

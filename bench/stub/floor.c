/* The floor: what sending signed writes costs a client in C, for other clients to be measured by.
 *
 * One thread, epoll, a number of keep-alive connections, each with one request under way. Every
 * request is what a mirror would send: its own key, an item of the size asked for, signed anew
 * (Signature Version 4, session token, signing key cached). Nothing is decoded, checked or retried.
 *
 *   floor --port N [--operation PutItem|BatchWriteItem] [--items N] [--connections N]
 *         [--item-bytes N] [--conditional] [--tls] [--cpu N]
 *
 * It prints one line of JSON. SHA-256 is OpenSSL's where its headers are (USE_OPENSSL), else the
 * plain one below, which is several times slower and makes the floor higher than it need be; TLS is
 * there only with OpenSSL, and the server's certificate is not verified.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef USE_OPENSSL
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <openssl/ssl.h>
typedef SHA256_CTX sha;
#define sha_start SHA256_Init
#define sha_more SHA256_Update
#define sha_end(state, out) SHA256_Final(out, state)
static const char sha_kind[] = "OpenSSL";
#else
static const char sha_kind[] = "plain C";

typedef struct {
    uint32_t h[8];
    uint64_t size;
    uint8_t block[64];
} sha;

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turn(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static void sha_block(sha *s, const uint8_t *p) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >> 3)) +
               (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >> 10));
    memcpy(v, s->h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t one = v[7] + (turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)) +
                       ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[i] + w[i];
        uint32_t two = (turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)) +
                       ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += one;
        v[0] = one + two;
    }
    for (int i = 0; i < 8; i++) s->h[i] += v[i];
}

static void sha_start(sha *s) {
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->h, first, sizeof first);
    s->size = 0;
}

static void sha_more(sha *s, const void *data, size_t size) {
    const uint8_t *p = data;
    while (size) {
        size_t used = s->size % 64, part = 64 - used < size ? 64 - used : size;
        if (part == 64) {
            sha_block(s, p);
        } else {
            memcpy(s->block + used, p, part);
            if (used + part == 64) sha_block(s, s->block);
        }
        s->size += part, p += part, size -= part;
    }
}

static void sha_end(sha *s, uint8_t *out) {
    uint64_t bits = s->size * 8;
    uint8_t tail[72] = {0x80};
    size_t pad = (s->size % 64 < 56 ? 56 : 120) - s->size % 64;
    for (int i = 0; i < 8; i++) tail[pad + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
    sha_more(s, tail, pad + 8);
    for (int i = 0; i < 32; i++) out[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}
#endif

#define SHA_BYTES 32

/* ---- signing ----------------------------------------------------------------------------- */

struct hmac {
    sha inner, outer;
};

static void hmac_key(struct hmac *h, const void *key, size_t size) {
    uint8_t pad[64] = {0};
    memcpy(pad, key, size);
    for (int i = 0; i < 64; i++) pad[i] ^= 0x36;
    sha_start(&h->inner);
    sha_more(&h->inner, pad, 64);
    for (int i = 0; i < 64; i++) pad[i] ^= 0x36 ^ 0x5c;
    sha_start(&h->outer);
    sha_more(&h->outer, pad, 64);
}

static void hmac(const struct hmac *h, const void *data, size_t size, uint8_t *out) {
    sha s = h->inner;
    sha_more(&s, data, size);
    sha_end(&s, out);
    s = h->outer;
    sha_more(&s, out, SHA_BYTES);
    sha_end(&s, out);
}

static void hex(const uint8_t *bytes, char *out) {
    for (int i = 0; i < SHA_BYTES; i++) {
        *out++ = "0123456789abcdef"[bytes[i] >> 4];
        *out++ = "0123456789abcdef"[bytes[i] & 15];
    }
}

static void digest(const void *data, size_t size, char *out) {
    uint8_t bytes[SHA_BYTES];
    sha s;
    sha_start(&s);
    sha_more(&s, data, size);
    sha_end(&s, bytes);
    hex(bytes, out);
}

static const char secret[] = "AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
static char token[357], host[32], second[32], scope[64];
static const char *operation = "PutItem";
static struct hmac signing;
static time_t signed_second = 0;

static void signing_setup(time_t now) {
    struct tm parts;
    gmtime_r(&now, &parts);
    char day[16];
    uint8_t key[SHA_BYTES];
    strftime(day, sizeof day, "%Y%m%d", &parts);
    strftime(second, sizeof second, "%Y%m%dT%H%M%SZ", &parts);
    snprintf(scope, sizeof scope, "%s/eu-west-1/dynamodb/aws4_request", day);
    const char *steps[] = {day, "eu-west-1", "dynamodb", "aws4_request"};
    hmac_key(&signing, secret, sizeof secret - 1);
    for (int i = 0; i < 4; i++) {
        hmac(&signing, steps[i], strlen(steps[i]), key);
        hmac_key(&signing, key, SHA_BYTES);
    }
    signed_second = now;
}

/* The head of a request for this body, signed. */
static size_t print_head(char *out, size_t room, const char *body, size_t size) {
    static char canonical[2048];
    char payload[65] = "", request[65] = "", signature[65] = "";
    uint8_t bytes[SHA_BYTES];
    time_t now = time(NULL);
    if (now != signed_second) signing_setup(now);
    digest(body, size, payload);
    int n = snprintf(canonical, sizeof canonical,
                     "POST\n/\n\ncontent-type:application/x-amz-json-1.0\nhost:%s\nx-amz-date:%s\n"
                     "x-amz-security-token:%s\nx-amz-target:DynamoDB_20120810.%s\n\n"
                     "content-type;host;x-amz-date;x-amz-security-token;x-amz-target\n%s",
                     host, second, token, operation, payload);
    digest(canonical, (size_t)n, request);
    n = snprintf(canonical, sizeof canonical, "AWS4-HMAC-SHA256\n%s\n%s\n%s", second, scope, request);
    hmac(&signing, canonical, (size_t)n, bytes);
    hex(bytes, signature);
    return (size_t)snprintf(
        out, room,
        "POST / HTTP/1.1\r\nHost: %s\r\nX-Amz-Target: DynamoDB_20120810.%s\r\n"
        "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Date: %s\r\nX-Amz-Security-Token: %s\r\n"
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/%s, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=%s\r\n"
        "Content-Length: %zu\r\n\r\n",
        host, operation, second, token, scope, signature, size);
}

/* ---- bodies ------------------------------------------------------------------------------ */

#define BATCH 25
static int item_bytes = 300;
static bool conditional = false;

/* An item like those of bench/workload.py; returns where its key's digits are. */
static size_t print_item(char *out, size_t *used) {
    int pad = item_bytes - 192 > 1 ? item_bytes - 192 : 1;
    size_t key = *used + strlen("{\"id\":{\"S\":\"item-");
    *used += (size_t)sprintf(
        out + *used,
        "{\"id\":{\"S\":\"item-000000000000\"},\"title\":{\"S\":\"A stream of consciousness, in three parts\"},"
        "\"author\":{\"S\":\"Ada Lovelace\"},\"published\":{\"BOOL\":true},\"score\":{\"N\":\"1.25\"},"
        "\"views\":{\"N\":\"1234567\"},\"tags\":{\"SS\":[\"essay\",\"history\",\"long\"]},"
        "\"place\":{\"M\":{\"city\":{\"S\":\"London\"},\"zip\":{\"N\":\"12345\"}}},"
        "\"digest\":{\"B\":\"q83vASNFZ4mrze8BI0VniavN7wEjRWeJ\"},\"note\":{\"S\":\"");
    memset(out + *used, 'n', (size_t)pad);
    *used += (size_t)pad;
    *used += (size_t)sprintf(out + *used, "\"}}");
    return key;
}

static char *body;
static size_t body_size, key_places[BATCH];
static int body_items;

static void body_setup(void) {
    body = malloc((size_t)(BATCH * (item_bytes + 1024)));
    if (!strcmp(operation, "BatchWriteItem")) {
        body_items = BATCH;
        body_size = (size_t)sprintf(body, "{\"RequestItems\":{\"Bench\":[");
        for (int i = 0; i < BATCH; i++) {
            body_size += (size_t)sprintf(body + body_size, "%s{\"PutRequest\":{\"Item\":", i ? "," : "");
            key_places[i] = print_item(body, &body_size);
            body_size += (size_t)sprintf(body + body_size, "}}");
        }
        body_size += (size_t)sprintf(body + body_size, "]}}");
        return;
    }
    body_items = 1;
    body_size = (size_t)sprintf(body, "{\"TableName\":\"Bench\",\"Item\":");
    key_places[0] = print_item(body, &body_size);
    if (conditional)
        body_size += (size_t)sprintf(
            body + body_size,
            ",\"ConditionExpression\":\"attribute_not_exists(#q) OR #q < :q\","
            "\"ExpressionAttributeNames\":{\"#q\":\"_mirror_seq\"},\"ExpressionAttributeValues\":"
            "{\":q\":{\"S\":\"0000000001#0000000000000001000000000000000000000097\"}}");
    body_size += (size_t)sprintf(body + body_size, "}");
}

static void renew_keys(uint64_t from) {
    for (int i = 0; i < body_items; i++) {
        uint64_t value = from + (uint64_t)i;
        for (int k = 11; k >= 0; k--, value /= 10) body[key_places[i] + (size_t)k] = (char)('0' + value % 10);
    }
}

/* ---- the loop ---------------------------------------------------------------------------- */

static uint64_t items_wanted = 100000, items_sent = 0, requests = 0;

struct line {
    int socket;
#ifdef USE_OPENSSL
    SSL *tls;
#endif
};

/* Sockets block: a request fits the buffers, and the stub sends an answer whole. */
static ssize_t put(struct line *l, const char *at, size_t size) {
#ifdef USE_OPENSSL
    if (l->tls) return SSL_write(l->tls, at, (int)size);
#endif
    return send(l->socket, at, size, MSG_NOSIGNAL);
}

static ssize_t get(struct line *l, char *at, size_t room) {
#ifdef USE_OPENSSL
    if (l->tls) return SSL_read(l->tls, at, (int)room);
#endif
    return recv(l->socket, at, room, 0);
}

static bool send_next(struct line *l) {
    static char *out;
    if (items_sent >= items_wanted) return false;
    if (!out) out = malloc(4096 + body_size);
    renew_keys(items_sent);
    items_sent += (uint64_t)body_items;
    size_t size = print_head(out, 4096, body, body_size);
    memcpy(out + size, body, body_size);
    size += body_size;
    for (size_t sent = 0; sent < size;) {
        ssize_t n = put(l, out + sent, size - sent);
        if (n <= 0) {
            perror("send");
            exit(1);
        }
        sent += (size_t)n;
    }
    return true;
}

/* Read the answer, which the stub sends whole. (Tickets of TLS that come first are skipped: the read
 * then waits for the answer, which is on its way.) */
static bool read_answer(struct line *l) {
    char in[4096];
    ssize_t n = get(l, in, sizeof in - 1);
    if (n < 12 || memcmp(in, "HTTP/1.1 200", 12)) {
        fprintf(stderr, "floor: no answer, or a refusal\n");
        exit(1);
    }
    in[n] = 0;
    if (!strstr(in, "\r\n\r\n")) exit(1);
    requests++;
    return true;
}

static double since(const struct timeval *t) { return (double)t->tv_sec * 1e6 + (double)t->tv_usec; }

int main(int count, char **words) {
    int port = 0, connections = 64;
    bool secure = false;
    for (int i = 1; i < count; i++) {
        const char *value = i + 1 < count ? words[i + 1] : "";
        if (!strcmp(words[i], "--conditional")) {
            conditional = true;
            continue;
        }
        if (!strcmp(words[i], "--tls")) {
            secure = true;
            continue;
        }
        i++;
        if (!strcmp(words[i - 1], "--port")) port = atoi(value);
        else if (!strcmp(words[i - 1], "--operation")) operation = value;
        else if (!strcmp(words[i - 1], "--items")) items_wanted = strtoull(value, NULL, 10);
        else if (!strcmp(words[i - 1], "--connections")) connections = atoi(value);
        else if (!strcmp(words[i - 1], "--item-bytes")) item_bytes = atoi(value);
        else if (!strcmp(words[i - 1], "--cpu")) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET((size_t)atoi(value), &set);
            sched_setaffinity(0, sizeof set, &set);
        } else {
            fprintf(stderr, "floor: unknown option %s (see the head of floor.c)\n", words[i - 1]);
            return 2;
        }
    }
    memset(token, 'T', sizeof token - 1);
    snprintf(host, sizeof host, "127.0.0.1:%d", port);
    body_setup();
    int poller = epoll_create1(0), one = 1;
    struct line *lines = calloc((size_t)connections, sizeof *lines);
#ifdef USE_OPENSSL
    SSL_CTX *context = secure ? SSL_CTX_new(TLS_client_method()) : NULL;
#else
    if (secure) {
        fprintf(stderr, "floor: built without OpenSSL, so there is no TLS\n");
        return 2;
    }
#endif
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (int i = 0; i < connections; i++) {
        int s = lines[i].socket = socket(AF_INET, SOCK_STREAM, 0);
        if (s < 0 || connect(s, (void *)&address, sizeof address)) {
            perror("connect");
            return 1;
        }
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
#ifdef USE_OPENSSL
        if (context) {
            lines[i].tls = SSL_new(context);
            SSL_set_fd(lines[i].tls, s);
            if (SSL_connect(lines[i].tls) != 1) {
                fprintf(stderr, "floor: no TLS with the server\n");
                return 1;
            }
        }
#endif
    }
    struct rusage before, after;
    struct timespec start, end;
    getrusage(RUSAGE_SELF, &before);
    clock_gettime(CLOCK_MONOTONIC, &start);
    int busy = 0;
    for (int i = 0; i < connections && send_next(&lines[i]); i++, busy++) {
        /* Only now: TLS sends tickets on a line that nothing was asked on, too. */
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &lines[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, lines[i].socket, &event);
    }
    struct epoll_event events[256];
    while (busy) {
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            read_answer(events[i].data.ptr);
            if (!send_next(events[i].data.ptr)) busy--;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    getrusage(RUSAGE_SELF, &after);
    double cpu = since(&after.ru_utime) + since(&after.ru_stime) - since(&before.ru_utime) - since(&before.ru_stime);
    double wall = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    printf("{\"changes\":%llu,\"requests\":%llu,\"cpu_us\":%.0f,\"wall_s\":%.6f,\"sha\":\"%s\"}\n",
           (unsigned long long)items_sent, (unsigned long long)requests, cpu, wall, sha_kind);
    return 0;
}

/* A DynamoDB endpoint that costs next to nothing, to measure clients against.
 *
 * One thread, epoll, HTTP/1.1 keep-alive on 127.0.0.1, libc and if there OpenSSL (Linux). It reads as little of a
 * request as it can (Content-Length, X-Amz-Target, a few JSON members found by text search), holds
 * nothing but the rows of a checkpoint table, and answers what DynamoDB answers to a write that
 * succeeds, with DynamoDB's headers and a correct x-amz-crc32. It is no emulator: nothing is
 * validated, and every condition holds.
 *
 *   --port N         0 (default): any free one; it is printed as "port N"
 *   --delay-ms X     every answer waits that long: a round trip
 *   --records N      the scripted stream of table Bench holds N records (default 0)
 *   --shards N       in so many open shards, dealt out in turn (default 1, at most 100)
 *   --rate R         R records a second, from the first GetRecords on; 0 (default): all at once.
 *                    A record's new image then begins its `note` with the time it came to be
 *   --page N         records to a GetRecords answer at most (default 1000, and never above 1 MB)
 *   --keys K         unique | zipf (10,000 keys, frequency 1/rank) | hot (10 keys) | a number of
 *                    keys, each as frequent as any other
 *   --items N        table Bench holds N items, for Scan and BatchGetItem (default 0)
 *   --item-bytes N   size of an item (default 300)
 *   --lag            measure how old the changes are that are written here (see --rate; the clock
 *                    is the machine's own, so another process's times can be compared)
 *   --tls-cert FILE --tls-key FILE   speak TLS (only if built with OpenSSL)
 *   --features       print what it was built with, and end
 *   --cpu N          run on that core
 *   --die-with-parent
 *
 * GET /stats: what was asked so far, per operation, as JSON. POST /reset: all counters to zero.
 *
 * The delay is the same for all, so the answers that wait form a queue in the order they are due:
 * no heap, no wheel, and a thousand connections cost what one does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#ifdef USE_OPENSSL
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#define STREAM_ARN "arn:aws:dynamodb:us-east-1:000000000000:table/Bench/stream/2026-01-01T00:00:00.000"
#define SHARD_PREFIX "shardId-00000001767225600000-"
#define SHARDS_MAX 100 /* what one page of DescribeStream lists */
/* A sequence number is this prefix and 15 digits that grow in steps, as the service's have gaps. */
#define SEQUENCE_PREFIX "1000000000"
#define SEQUENCE_DIGITS 15
#define SEQUENCE_STEP 97ULL
#define PAGE_BYTES_MAX (1 << 20)    /* API reference, GetRecords */
#define REQUEST_BYTES_MAX (20 << 20) /* BatchWriteItem's limit is 16 MB */
#define ZIPF_KEYS 10000
#define ZIPF_SAMPLES (1 << 16)
#define HOT_KEYS 10
#define OPERATIONS_MAX 64
#define BORN_DIGITS 20

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* ---- crc32, eight bytes at a time -------------------------------------------------------- */

static uint32_t crc_table[8][256];

static void crc_setup(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        crc_table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            crc_table[t][i] = (crc_table[t - 1][i] >> 8) ^ crc_table[0][crc_table[t - 1][i] & 0xFF];
}

static uint32_t crc32_of(const char *data, size_t size) {
    const uint8_t *p = (const uint8_t *)data;
    uint32_t c = 0xFFFFFFFFu;
    for (; size >= 8; p += 8, size -= 8) {
        uint32_t lo, hi;
        memcpy(&lo, p, 4);
        memcpy(&hi, p + 4, 4);
        lo ^= c;
        c = crc_table[7][lo & 0xFF] ^ crc_table[6][(lo >> 8) & 0xFF] ^
            crc_table[5][(lo >> 16) & 0xFF] ^ crc_table[4][lo >> 24] ^
            crc_table[3][hi & 0xFF] ^ crc_table[2][(hi >> 8) & 0xFF] ^
            crc_table[1][(hi >> 16) & 0xFF] ^ crc_table[0][hi >> 24];
    }
    while (size--) c = crc_table[0][(c ^ *p++) & 0xFF] ^ (c >> 8);
    return ~c;
}

/* ---- growing text ------------------------------------------------------------------------ */

struct text {
    char *at;
    size_t size, room;
};

static void reserve(struct text *t, size_t more) {
    if (t->size + more <= t->room) return;
    size_t room = t->room ? t->room : 4096;
    while (room < t->size + more) room *= 2;
    t->at = realloc(t->at, room);
    if (!t->at) die("realloc");
    t->room = room;
}

static void append(struct text *t, const char *data, size_t size) {
    reserve(t, size);
    memcpy(t->at + t->size, data, size);
    t->size += size;
}

__attribute__((format(printf, 2, 3))) static void print(struct text *t, const char *format, ...) {
    va_list args;
    for (size_t room = 512;; room = t->room - t->size + 1) {
        reserve(t, room);
        va_start(args, format);
        int n = vsnprintf(t->at + t->size, t->room - t->size, format, args);
        va_end(args);
        if ((size_t)n < t->room - t->size) {
            t->size += (size_t)n;
            return;
        }
        reserve(t, (size_t)n + 1);
    }
}

static void digits(char *at, int width, uint64_t value) {
    for (int i = width - 1; i >= 0; i--, value /= 10) at[i] = (char)('0' + value % 10);
}

/* ---- the scripted stream ----------------------------------------------------------------- */

static uint64_t stream_records = 0, stream_shards = 1, stream_rate = 0, stream_began_ns = 0;
static int stream_page = 1000, item_bytes = 300;
static enum { UNIQUE, ZIPF, HOT, UNIFORM } stream_keys = UNIQUE;
static uint64_t uniform_keys = 1, table_items = 0;
static uint32_t zipf_sample[ZIPF_SAMPLES];
static uint64_t random_state = 0x9E3779B97F4A7C15ULL;

static uint64_t draw(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void zipf_setup(void) {
    static double reach[ZIPF_KEYS];
    double sum = 0;
    for (int i = 0; i < ZIPF_KEYS; i++) reach[i] = sum += 1.0 / (i + 1);
    for (int s = 0; s < ZIPF_SAMPLES; s++) {
        double x = (double)(draw() >> 11) / 9007199254740992.0 * sum;
        int low = 0, high = ZIPF_KEYS - 1;
        while (low < high) {
            int middle = (low + high) / 2;
            if (reach[middle] < x) low = middle + 1;
            else high = middle;
        }
        zipf_sample[s] = (uint32_t)low;
    }
}

/* A key belongs to one shard, as the service has it. */
static uint64_t key_at(uint64_t position, uint64_t shard) {
    uint64_t number = position * stream_shards + shard, keys = 0;
    switch (stream_keys) {
        case UNIQUE: return number;
        case HOT: return position % HOT_KEYS * stream_shards + shard;
        case ZIPF: return zipf_sample[number % ZIPF_SAMPLES] * stream_shards + shard;
        default: break;
    }
    keys = uniform_keys / stream_shards ? uniform_keys / stream_shards : 1;
    number += 0x9E3779B97F4A7C15ULL; /* splitmix64 */
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9ULL;
    number = (number ^ (number >> 27)) * 0x94D049BB133111EBULL;
    return (number ^ (number >> 31)) % keys * stream_shards + shard;
}

/* How many records a shard has so far. */
static uint64_t records_in(uint64_t shard) {
    uint64_t there = stream_records;
    if (stream_rate) {
        uint64_t born = stream_began_ns
            ? (uint64_t)((double)(now_ns() - stream_began_ns) * 1e-9 * (double)stream_rate) : 0;
        if (born < there) there = born;
    }
    return there > shard ? (there - shard + stream_shards - 1) / stream_shards : 0;
}

static uint64_t born_ns(uint64_t number) {
    return stream_began_ns + (uint64_t)((double)number * 1e9 / (double)stream_rate);
}

/* One record as text, and where in it the parts lie that change from record to record. */
static struct text record;
static size_t key_places[3], sequence_place, id_place, time_place, note_place;

/* Returns where its key's digits are, and sets note_place. */
static size_t image(struct text *t, int number) {
    /* The same ten attributes as bench/workload.py's items; `note` fills up to the size asked for. */
    int pad = item_bytes - 192;
    if (pad < 1) pad = 1;
    print(t, "{\"id\":{\"S\":\"item-");
    size_t key = t->size;
    print(t, "000000000000\"},\"title\":{\"S\":\"A stream of consciousness, in three parts\"},"
             "\"author\":{\"S\":\"Ada Lovelace\"},\"published\":{\"BOOL\":true},"
             "\"score\":{\"N\":\"%d.25\"},\"views\":{\"N\":\"1234567\"},"
             "\"tags\":{\"SS\":[\"essay\",\"history\",\"long\"]},"
             "\"place\":{\"M\":{\"city\":{\"S\":\"London\"},\"zip\":{\"N\":\"12345\"}}},"
             "\"digest\":{\"B\":\"q83vASNFZ4mrze8BI0VniavN7wEjRWeJ\"},\"note\":{\"S\":\"", number);
    reserve(t, (size_t)pad + 8);
    note_place = t->size;
    memset(t->at + t->size, 'n', (size_t)pad);
    t->size += (size_t)pad;
    print(t, "\"}}");
    return key;
}

static void record_setup(void) {
    print(&record, "{\"eventID\":\"");
    id_place = record.size;
    print(&record, "0000000000000000000000000000000a\",\"eventName\":\"MODIFY\",\"eventVersion\":\"1.1\","
                   "\"eventSource\":\"aws:dynamodb\",\"awsRegion\":\"us-east-1\",\"dynamodb\":{"
                   "\"ApproximateCreationDateTime\":");
    time_place = record.size;
    print(&record, "1767225600,\"Keys\":{\"id\":{\"S\":\"item-");
    key_places[0] = record.size;
    print(&record, "000000000000\"}},\"NewImage\":");
    key_places[1] = image(&record, 1);
    size_t new_note = note_place;
    print(&record, ",\"OldImage\":");
    key_places[2] = image(&record, 0);
    note_place = new_note;
    print(&record, ",\"SequenceNumber\":\"" SEQUENCE_PREFIX);
    sequence_place = record.size;
    print(&record, "000000000000000\",\"SizeBytes\":%d,\"StreamViewType\":\"NEW_AND_OLD_IMAGES\"}}",
          2 * item_bytes + 20);
}

static void print_records(struct text *t, uint64_t shard, uint64_t from, uint64_t to) {
    uint64_t now = (uint64_t)time(NULL);
    for (uint64_t i = from; i < to; i++) {
        uint64_t number = i * stream_shards + shard;
        if (i > from) append(t, ",", 1);
        size_t start = t->size;
        append(t, record.at, record.size);
        char *at = t->at + start;
        digits(at + id_place, 31, number);
        digits(at + time_place, 10, now);
        digits(at + sequence_place, SEQUENCE_DIGITS, (i + 1) * SEQUENCE_STEP);
        uint64_t key = key_at(i, shard);
        for (int k = 0; k < 3; k++) digits(at + key_places[k], 12, key);
        if (stream_rate) {
            memcpy(at + note_place, "at", 2);
            digits(at + note_place + 2, BORN_DIGITS, born_ns(number));
        }
    }
}

/* ---- the scripted table ------------------------------------------------------------------- */

static struct text table_item;
static size_t item_key_place;

static void item_setup(void) {
    size_t of_record = note_place;
    item_key_place = image(&table_item, 1);
    note_place = of_record;
}

static void print_item(struct text *t, uint64_t key, bool key_only) {
    if (key_only) {
        print(t, "{\"id\":{\"S\":\"item-%012llu\"}}", (unsigned long long)key);
        return;
    }
    size_t start = t->size;
    append(t, table_item.at, table_item.size);
    digits(t->at + start + item_key_place, 12, key);
}

/* ---- reading requests -------------------------------------------------------------------- */

/* The text of a string or number member, found by name; an attribute of that name would fool it. */
static bool member(const char *body, size_t size, const char *name, char *out, size_t room) {
    char pattern[64];
    int n = snprintf(pattern, sizeof pattern, "\"%s\"", name);
    const char *end = body + size, *p = memmem(body, size, pattern, (size_t)n);
    if (!p) return false;
    for (p += n; p < end && (*p == ' ' || *p == ':' || *p == '"'); p++) {}
    size_t used = 0;
    while (p < end && *p != '"' && *p != ',' && *p != '}' && *p != ' ' && used + 1 < room) out[used++] = *p++;
    out[used] = 0;
    return true;
}

static uint64_t occurrences(const char *body, size_t size, const char *what) {
    uint64_t n = 0;
    size_t length = strlen(what);
    const char *end = body + size;
    for (const char *p = body; (p = memmem(p, (size_t)(end - p), what, length)); p += length) n++;
    return n;
}

static bool ends_with(const char *text, const char *end) {
    size_t t = strlen(text), e = strlen(end);
    return t >= e && !strcmp(text + t - e, end);
}

/* ---- rows of the checkpoint table --------------------------------------------------------- */

/* The one table that is remembered: an engine can't start without finding what it put there. */
#define ROWS_MAX 64

static struct row {
    char link[128], shard[128];
    char *item;
    size_t size;
} rows[ROWS_MAX];
static int rows_held = 0;

/* The text of a string attribute: "name": {"S": "text"}. */
static bool attribute(const char *body, size_t size, const char *name, char *out, size_t room) {
    char pattern[64];
    int n = snprintf(pattern, sizeof pattern, "\"%s\"", name);
    const char *p = memmem(body, size, pattern, (size_t)n);
    return p && member(p + n, size - (size_t)(p + n - body), "S", out, room);
}

/* The object that is the value of "Item". */
static const char *item_of(const char *body, size_t size, size_t *length) {
    const char *end = body + size, *p = memmem(body, size, "\"Item\"", 6);
    if (!p || !(p = memchr(p, '{', (size_t)(end - p)))) return NULL;
    int depth = 0;
    bool quoted = false;
    for (const char *at = p; at < end; at++) {
        if (quoted && *at == '\\') at++;
        else if (*at == '"') quoted = !quoted;
        else if (!quoted && *at == '{') depth++;
        else if (!quoted && *at == '}' && !--depth) {
            *length = (size_t)(at + 1 - p);
            return p;
        }
    }
    return NULL;
}

static bool about_checkpoints(const char *body, size_t size) {
    return memmem(body, size, "-dynamirror-checkpoints\"", 24) != NULL;
}

static void keep_row(const char *body, size_t size, bool remove) {
    struct row new = {.item = NULL};
    const char *item = remove ? NULL : item_of(body, size, &new.size);
    attribute(body, size, "link", new.link, sizeof new.link);
    attribute(body, size, "shard", new.shard, sizeof new.shard);
    int at = 0;
    while (at < rows_held && (strcmp(rows[at].link, new.link) || strcmp(rows[at].shard, new.shard))) at++;
    if (at < rows_held) {
        free(rows[at].item);
        rows[at] = rows[--rows_held];
    }
    if (!item || rows_held == ROWS_MAX) return;
    new.item = malloc(new.size);
    if (!new.item) die("malloc");
    memcpy(new.item, item, new.size);
    rows[rows_held++] = new;
}

static void print_rows(struct text *t, const char *body, size_t size) {
    char link[128] = "";
    attribute(body, size, ":l", link, sizeof link);
    int found = 0;
    print(t, "{\"Items\":[");
    for (int i = 0; i < rows_held; i++) {
        if (strcmp(rows[i].link, link)) continue;
        if (found++) append(t, ",", 1);
        append(t, rows[i].item, rows[i].size);
    }
    print(t, "],\"Count\":%d,\"ScannedCount\":%d}", found, found);
}

/* ---- answering --------------------------------------------------------------------------- */

static struct operation {
    char name[48];
    uint64_t requests, items;
} operations[OPERATIONS_MAX];
static int operations_known = 0;
static uint64_t connections_accepted = 0, connections_open = 0, connections_open_max = 0;
static uint64_t bytes_received = 0;

static struct operation *operation_of(const char *name, size_t size) {
    if (size >= sizeof operations[0].name) size = sizeof operations[0].name - 1;
    for (int i = 0; i < operations_known; i++)
        if (!strncmp(operations[i].name, name, size) && !operations[i].name[size]) return &operations[i];
    struct operation *new = &operations[operations_known < OPERATIONS_MAX ? operations_known++ : OPERATIONS_MAX - 1];
    memcpy(new->name, name, size);
    new->name[size] = 0;
    return new;
}

static void print_table(struct text *t, const char *name) {
    static const char *keys[][3] = {
        {"-dynamirror-ledger", "k", NULL},      {"-dynamirror-journal", "k", "at"},
        {"-dynamirror-parked", "k", "seq"},     {"-dynamirror-checkpoints", "link", "shard"},
    };
    const char *hash = "id", *range = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (ends_with(name, keys[i][0])) hash = keys[i][1], range = keys[i][2];
    print(t, "{\"AttributeDefinitions\":[{\"AttributeName\":\"%s\",\"AttributeType\":\"S\"}", hash);
    if (range) print(t, ",{\"AttributeName\":\"%s\",\"AttributeType\":\"S\"}", range);
    print(t, "],\"TableName\":\"%s\",\"KeySchema\":[{\"AttributeName\":\"%s\",\"KeyType\":\"HASH\"}", name, hash);
    if (range) print(t, ",{\"AttributeName\":\"%s\",\"KeyType\":\"RANGE\"}", range);
    uint64_t count = strcmp(name, "Bench") ? 0 : table_items;
    print(t, "],\"TableStatus\":\"ACTIVE\",\"CreationDateTime\":1767225600,\"ItemCount\":%llu,\"TableSizeBytes\":%llu,"
             "\"BillingModeSummary\":{\"BillingMode\":\"PAY_PER_REQUEST\"},"
             "\"ProvisionedThroughput\":{\"NumberOfDecreasesToday\":0,\"ReadCapacityUnits\":0,\"WriteCapacityUnits\":0},"
             "\"TableArn\":\"arn:aws:dynamodb:us-east-1:000000000000:table/%s\","
             "\"TableId\":\"00000000-0000-0000-0000-000000000000\"",
          (unsigned long long)count, (unsigned long long)(count * (uint64_t)item_bytes), name);
    if (!strcmp(name, "Bench"))
        print(t, ",\"StreamSpecification\":{\"StreamEnabled\":true,\"StreamViewType\":\"NEW_AND_OLD_IMAGES\"},"
                 "\"LatestStreamLabel\":\"2026-01-01T00:00:00.000\",\"LatestStreamArn\":\"" STREAM_ARN "\"");
    print(t, "}");
}

static void get_shard_iterator(struct text *t, const char *body, size_t size) {
    char kind[32] = "", number[64] = "", name[128] = "";
    member(body, size, "ShardIteratorType", kind, sizeof kind);
    member(body, size, "ShardId", name, sizeof name);
    uint64_t shard = strlen(name) > strlen(SHARD_PREFIX) ? strtoull(name + strlen(SHARD_PREFIX), NULL, 10) : 0;
    member(body, size, "SequenceNumber", number, sizeof number);
    uint64_t position = 0;
    if (!strcmp(kind, "LATEST")) position = records_in(shard);
    if (ends_with(kind, "SEQUENCE_NUMBER") && strlen(number) > SEQUENCE_DIGITS) {
        position = strtoull(number + strlen(number) - SEQUENCE_DIGITS, NULL, 10) / SEQUENCE_STEP;
        if (*kind == 'A' && kind[1] == 'T' && position) position--;
    }
    print(t, "{\"ShardIterator\":\"" STREAM_ARN "|%llu|%020llu\"}", (unsigned long long)shard,
          (unsigned long long)position);
}

static uint64_t get_records(struct text *t, const char *body, size_t size) {
    char iterator[256] = "", limit[16] = "";
    member(body, size, "ShardIterator", iterator, sizeof iterator);
    if (!stream_began_ns) stream_began_ns = now_ns();
    uint64_t page = (uint64_t)stream_page, from = UINT64_MAX, shard = 0;
    if (member(body, size, "Limit", limit, sizeof limit) && strtoull(limit, NULL, 10) < page)
        page = strtoull(limit, NULL, 10);
    uint64_t data = 2 * (uint64_t)item_bytes + 20; /* the limit is on data, not on its JSON */
    if (page * data > PAGE_BYTES_MAX) page = PAGE_BYTES_MAX / data;
    const char *bar = strrchr(iterator, '|'), *first = strchr(iterator, '|');
    if (bar) from = strtoull(bar + 1, NULL, 10), shard = strtoull(first + 1, NULL, 10);
    uint64_t there = records_in(shard);
    if (from > there) from = there;
    uint64_t to = from + page < there ? from + page : there;
    print(t, "{\"Records\":[");
    print_records(t, shard, from, to);
    print(t, "],\"NextShardIterator\":\"" STREAM_ARN "|%llu|%020llu\"}", (unsigned long long)shard,
          (unsigned long long)to);
    return to - from;
}

static void describe_stream(struct text *t) {
    print(t, "{\"StreamDescription\":{\"StreamArn\":\"" STREAM_ARN "\",\"StreamLabel\":\"2026-01-01T00:00:00.000\","
             "\"StreamStatus\":\"ENABLED\",\"StreamViewType\":\"NEW_AND_OLD_IMAGES\",\"CreationRequestDateTime\":1767225600,"
             "\"TableName\":\"Bench\",\"KeySchema\":[{\"AttributeName\":\"id\",\"KeyType\":\"HASH\"}],\"Shards\":[");
    for (uint64_t i = 0; i < stream_shards; i++)
        print(t, "%s{\"ShardId\":\"" SHARD_PREFIX "%08llu\",\"SequenceNumberRange\":{"
                 "\"StartingSequenceNumber\":\"" SEQUENCE_PREFIX "000000000000000\"}}", i ? "," : "", (unsigned long long)i);
    print(t, "]}}");
}

/* One page of one segment: 1 MB of items, whatever of them is asked for. */
static uint64_t scan(struct text *t, const char *body, size_t size) {
    char text[32] = "";
    uint64_t segment = 0, segments = 1, page = PAGE_BYTES_MAX / (uint64_t)item_bytes;
    if (member(body, size, "Segment", text, sizeof text)) segment = strtoull(text, NULL, 10);
    if (member(body, size, "TotalSegments", text, sizeof text)) segments = strtoull(text, NULL, 10);
    if (member(body, size, "Limit", text, sizeof text) && strtoull(text, NULL, 10) < page)
        page = strtoull(text, NULL, 10);
    bool key_only = memmem(body, size, "\"ProjectionExpression\"", 22);
    uint64_t from = table_items * segment / segments, end = table_items * (segment + 1) / segments;
    const char *start = memmem(body, size, "\"ExclusiveStartKey\"", 19);
    if (start && (start = memmem(start, size - (size_t)(start - body), "item-", 5)))
        from = strtoull(start + 5, NULL, 10) + 1;
    uint64_t to = from + page < end ? from + page : end;
    print(t, "{\"Items\":[");
    for (uint64_t i = from; i < to; i++) {
        if (i > from) append(t, ",", 1);
        print_item(t, i, key_only);
    }
    print(t, "],\"Count\":%llu,\"ScannedCount\":%llu", (unsigned long long)(to - from), (unsigned long long)(to - from));
    if (to < end)
        print(t, ",\"LastEvaluatedKey\":{\"id\":{\"S\":\"item-%012llu\"}}", (unsigned long long)(to - 1));
    print(t, "}");
    return to - from;
}

static uint64_t batch_get(struct text *t, const char *body, size_t size) {
    bool key_only = memmem(body, size, "\"ProjectionExpression\"", 22);
    uint64_t found = 0;
    const char *end = body + size;
    print(t, "{\"Responses\":{\"Bench\":[");
    for (const char *p = body; (p = memmem(p, (size_t)(end - p), "\"item-", 6)); p += 6) {
        uint64_t key = strtoull(p + 6, NULL, 10);
        if (key >= table_items) continue;
        if (found++) append(t, ",", 1);
        print_item(t, key, key_only);
    }
    print(t, "]},\"UnprocessedKeys\":{}}");
    return found;
}

/* ---- what is noted of writes --------------------------------------------------------------- */

static bool lag_wanted = false;
static uint64_t first_read_ns = 0, first_write_ns = 0, last_write_ns = 0;
static uint32_t *lags_us = NULL;
static size_t lags_held = 0, lags_room = 0;

static void note_write(const char *body, size_t size) {
    uint64_t now = now_ns();
    if (!first_write_ns) first_write_ns = now;
    last_write_ns = now;
    if (!lag_wanted) return;
    const char *end = body + size;
    for (const char *p = body; (p = memmem(p, (size_t)(end - p), "\"at", 3)); p += 3) {
        if (end - p < 4 + BORN_DIGITS) return;
        uint64_t born = 0;
        int i = 0;
        for (; i < BORN_DIGITS && p[3 + i] >= '0' && p[3 + i] <= '9'; i++) born = born * 10 + (uint64_t)(p[3 + i] - '0');
        if (i < BORN_DIGITS) continue;
        if (lags_held == lags_room) {
            lags_room = lags_room ? 2 * lags_room : 1 << 16;
            lags_us = realloc(lags_us, lags_room * sizeof *lags_us);
            if (!lags_us) die("realloc");
        }
        lags_us[lags_held++] = now > born ? (uint32_t)((now - born) / 1000) : 0;
    }
}

static int by_size(const void *a, const void *b) {
    uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;
    return (one > other) - (one < other);
}

static uint32_t lag_at(double share) {
    return lags_held ? lags_us[(size_t)((double)(lags_held - 1) * share)] : 0;
}

static void answer_stats(struct text *t) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    print(t, "{\"operations\":{");
    for (int i = 0; i < operations_known; i++)
        print(t, "%s\"%s\":{\"requests\":%llu,\"items\":%llu}", i ? "," : "", operations[i].name,
              (unsigned long long)operations[i].requests, (unsigned long long)operations[i].items);
    print(t, "},\"connections\":%llu,\"connections_open\":%llu,\"connections_open_max\":%llu,"
             "\"bytes_received\":%llu,\"cpu_us\":%lld",
          (unsigned long long)connections_accepted, (unsigned long long)connections_open,
          (unsigned long long)connections_open_max, (unsigned long long)bytes_received,
          (long long)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    print(t, ",\"first_read_ns\":%llu,\"first_write_ns\":%llu,\"last_write_ns\":%llu", (unsigned long long)first_read_ns,
          (unsigned long long)first_write_ns, (unsigned long long)last_write_ns);
    if (lags_held) qsort(lags_us, lags_held, sizeof *lags_us, by_size);
    print(t, ",\"lag\":{\"changes\":%zu,\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u}}", lags_held, lag_at(0.5),
          lag_at(0.99), lag_at(1));
}

/* Write the answer's body to `t`, count, and return the status. */
static int answer(struct text *t, const char *operation, size_t length, const char *body, size_t size) {
    struct operation *known = operation_of(operation, length);
    const char *name = known->name;
    uint64_t items = 1;
    int status = 200;
    char table[256] = "";
    if (!strcmp(name, "PutItem") || !strcmp(name, "UpdateItem") || !strcmp(name, "DeleteItem") || !strcmp(name, "GetItem")) {
        append(t, "{}", 2);
        if (*name != 'G') note_write(body, size);
        if ((*name == 'P' || *name == 'D') && about_checkpoints(body, size)) keep_row(body, size, *name == 'D');
    } else if (!strcmp(name, "Query") && about_checkpoints(body, size)) {
        print_rows(t, body, size);
    } else if (!strcmp(name, "BatchWriteItem")) {
        note_write(body, size);
        items = occurrences(body, size, "\"PutRequest\"") + occurrences(body, size, "\"DeleteRequest\"");
        append(t, "{\"UnprocessedItems\":{}}", 23);
    } else if (!strcmp(name, "TransactWriteItems")) {
        note_write(body, size);
        items = occurrences(body, size, "\"TableName\"");
        append(t, "{}", 2);
    } else if (!strcmp(name, "GetRecords")) {
        if (!first_read_ns) first_read_ns = now_ns();
        items = get_records(t, body, size);
    } else if (!strcmp(name, "GetShardIterator")) {
        get_shard_iterator(t, body, size);
    } else if (!strcmp(name, "DescribeStream")) {
        describe_stream(t);
    } else if (!strcmp(name, "ListStreams")) {
        print(t, "{\"Streams\":[{\"StreamArn\":\"" STREAM_ARN "\",\"TableName\":\"Bench\","
                 "\"StreamLabel\":\"2026-01-01T00:00:00.000\"}]}");
    } else if (!strcmp(name, "DescribeTable") || !strcmp(name, "CreateTable")) {
        member(body, size, "TableName", table, sizeof table);
        print(t, *name == 'D' ? "{\"Table\":" : "{\"TableDescription\":");
        print_table(t, table);
        print(t, "}");
    } else if (!strcmp(name, "DescribeTimeToLive")) {
        print(t, "{\"TimeToLiveDescription\":{\"TimeToLiveStatus\":\"ENABLED\",\"AttributeName\":\"expires_at\"}}");
    } else if (!strcmp(name, "ListTables")) {
        print(t, "{\"TableNames\":[\"Bench\"]}");
    } else if (!strcmp(name, "Scan") && table_items && memmem(body, size, "\"Bench\"", 7)) {
        items = scan(t, body, size);
    } else if (!strcmp(name, "Query") || !strcmp(name, "Scan")) {
        print(t, "{\"Count\":0,\"Items\":[],\"ScannedCount\":0}");
    } else if (!strcmp(name, "BatchGetItem")) {
        items = batch_get(t, body, size);
    } else if (!strcmp(name, "TransactGetItems")) {
        print(t, "{\"Responses\":[");
        for (uint64_t i = items = occurrences(body, size, "\"TableName\""); i; i--) print(t, i > 1 ? "{}," : "{}");
        print(t, "]}");
    } else if (!strcmp(name, "BatchExecuteStatement")) {
        print(t, "{\"Responses\":[");
        for (uint64_t i = items = occurrences(body, size, "\"Statement\""); i; i--) print(t, i > 1 ? "{}," : "{}");
        print(t, "]}");
    } else {
        status = 400;
        print(t, "{\"__type\":\"com.amazon.coral.service#UnknownOperationException\"}");
    }
    known->requests++;
    known->items += items;
    return status;
}

/* ---- connections ------------------------------------------------------------------------- */

struct connection {
    int socket;
    bool waiting; /* an answer is in the queue: nothing more is read until it is out */
    bool closed;  /* by the client, while an answer waits */
    struct text in, out;
    size_t scanned, sent;
#ifdef USE_OPENSSL
    SSL *tls;
#endif
};

struct due {
    uint64_t at_ns;
    struct connection *connection;
    struct text body;
    int status;
};

static int poller;
static uint64_t delay_ns = 0;
static struct due *queue;
static size_t queue_room = 1 << 12, queue_first = 0, queue_size = 0;
static char date_header[64];
static time_t date_second = 0;

#ifdef USE_OPENSSL
static SSL_CTX *tls_context = NULL;

static void tls_setup(const char *certificate, const char *key) {
    tls_context = SSL_CTX_new(TLS_server_method());
    if (!tls_context || SSL_CTX_use_certificate_chain_file(tls_context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}
#endif

/* As recv and send do it: -1 and EAGAIN where there is nothing to be done yet. */
static ssize_t get(struct connection *c, char *at, size_t room) {
#ifdef USE_OPENSSL
    if (c->tls) {
        ERR_clear_error();
        int n = SSL_read(c->tls, at, (int)room);
        if (n > 0) return n;
        int why = SSL_get_error(c->tls, n);
        errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EIO;
        return why == SSL_ERROR_ZERO_RETURN ? 0 : -1;
    }
#endif
    return recv(c->socket, at, room, 0);
}

static ssize_t put(struct connection *c, const char *at, size_t size) {
#ifdef USE_OPENSSL
    if (c->tls) {
        ERR_clear_error();
        int n = SSL_write(c->tls, at, (int)size);
        if (n > 0) return n;
        int why = SSL_get_error(c->tls, n);
        errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EIO;
        return -1;
    }
#endif
    return send(c->socket, at, size, MSG_NOSIGNAL);
}

static bool is_tls(const struct connection *c) {
#ifdef USE_OPENSSL
    return c->tls != NULL;
#else
    (void)c;
    return false;
#endif
}

static void free_connection(struct connection *c) {
#ifdef USE_OPENSSL
    SSL_free(c->tls);
#endif
    free(c->in.at);
    free(c->out.at);
    free(c);
}

static void drop(struct connection *c) {
    if (c->socket >= 0) {
        close(c->socket);
        c->socket = -1;
        connections_open--;
    }
    c->closed = true;
    if (!c->waiting) free_connection(c);
}

static void watch(struct connection *c, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->socket, &event);
}

/* Send what is to be sent; false: the connection is gone. */
static bool flush(struct connection *c) {
    while (c->sent < c->out.size) {
        ssize_t n = put(c, c->out.at + c->sent, c->out.size - c->sent);
        if (n < 0 && errno == EAGAIN) {
            watch(c, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
            return true;
        }
        if (n < 0) return false;
        c->sent += (size_t)n;
    }
    c->out.size = c->sent = 0;
    return true;
}

static bool respond(struct connection *c, int status, const char *body, size_t size) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    time_t now = time(NULL);
    if (now != date_second) {
        struct tm parts;
        date_second = now;
        strftime(date_header, sizeof date_header, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
    }
    char id[53];
    for (int i = 0; i < 48; i += 12) {
        uint64_t bits = draw();
        for (int k = 0; k < 12; k++, bits >>= 5) id[i + k] = alphabet[bits & 31];
    }
    memcpy(id + 48, "AAJG", 5);
    print(&c->out,
          "HTTP/1.1 %s\r\nServer: Server\r\nDate: %s\r\nContent-Type: application/x-amz-json-1.0\r\n"
          "Content-Length: %zu\r\nConnection: keep-alive\r\nx-amzn-RequestId: %s\r\nx-amz-crc32: %u\r\n\r\n",
          status == 200 ? "200 OK" : "400 Bad Request", date_header, size, id, crc32_of(body, size));
    append(&c->out, body, size);
    return flush(c);
}

static struct due *queue_slot(void) {
    if (queue_size == queue_room) {
        struct due *bigger = malloc(2 * queue_room * sizeof *bigger);
        if (!bigger) die("malloc");
        for (size_t i = 0; i < queue_size; i++) bigger[i] = queue[(queue_first + i) % queue_room];
        free(queue);
        queue = bigger;
        queue_first = 0;
        queue_room *= 2;
    }
    return &queue[(queue_first + queue_size++) % queue_room];
}

/* Whether the header at `line` is called `name`, which is in lower case and ends in a colon. */
static bool called(const char *line, const char *name, size_t size) {
    return !strncasecmp(line, name, size);
}

/* Answer every whole request in the buffer; false: the connection is gone. */
static bool consume(struct connection *c) {
    size_t start = 0;
    while (!c->waiting) {
        char *head = c->in.at + start;
        size_t held = c->in.size - start;
        size_t from = c->scanned > 3 ? c->scanned - 3 : 0;
        char *end = held > from ? memmem(head + from, held - from, "\r\n\r\n", 4) : NULL;
        if (!end) {
            c->scanned = held;
            if (held > REQUEST_BYTES_MAX) return false;
            break;
        }
        size_t length = 0;
        const char *target = NULL;
        size_t target_size = 0;
        for (char *line = memchr(head, '\n', (size_t)(end - head)); line && line < end;
             line = memchr(line, '\n', (size_t)(end - line))) {
            line++;
            if ((*line | 32) == 'c' && called(line, "content-length:", 15)) {
                length = strtoull(line + 15, NULL, 10);
            } else if ((*line | 32) == 'x' && called(line, "x-amz-target:", 13)) {
                const char *stop = memchr(line, '\r', (size_t)(end - line) + 1);
                const char *dot = memchr(line, '.', (size_t)(stop - line));
                if (dot) target = dot + 1, target_size = (size_t)(stop - target);
            }
        }
        size_t head_size = (size_t)(end + 4 - head);
        if (length > REQUEST_BYTES_MAX) return false;
        if (held < head_size + length) {
            c->scanned = (size_t)(end - head);
            reserve(&c->in, head_size + length - held);
            break;
        }
        static struct text body;
        body.size = 0;
        int status = 200;
        bool ours = false;
        if (target) {
            status = answer(&body, target, target_size, head + head_size, length);
        } else if (held > 10 && !memcmp(head, "GET /stats", 10)) {
            ours = true;
            answer_stats(&body);
        } else if (held > 11 && !memcmp(head, "POST /reset", 11)) {
            ours = true;
            memset(operations, 0, sizeof operations);
            operations_known = 0;
            connections_accepted = bytes_received = 0;
            first_read_ns = first_write_ns = last_write_ns = 0;
            lags_held = 0;
            connections_open_max = connections_open;
            append(&body, "{}", 2);
        } else {
            status = 400;
            append(&body, "{}", 2);
        }
        start += head_size + length;
        c->scanned = 0;
        if (delay_ns && !ours) {
            c->waiting = true;
            struct due *due = queue_slot();
            *due = (struct due){.at_ns = now_ns() + delay_ns, .connection = c, .status = status};
            append(&due->body, body.at, body.size);
        } else if (!respond(c, status, body.at, body.size)) {
            return false;
        }
    }
    if (start) {
        memmove(c->in.at, c->in.at + start, c->in.size - start);
        c->in.size -= start;
    }
    return true;
}

/* Read what there is; false: the connection is gone. */
static bool take(struct connection *c) {
    for (;;) {
        reserve(&c->in, 4096);
        size_t room = c->in.room - c->in.size;
        ssize_t n = get(c, c->in.at + c->in.size, room);
        if (n == 0) return false;
        if (n < 0) return errno == EAGAIN;
        c->in.size += (size_t)n;
        bytes_received += (uint64_t)n;
        if (!c->waiting && !consume(c)) return false;
        if (c->waiting || (!is_tls(c) && (size_t)n < room)) return true;
    }
}

static void accept_all(int listener) {
    int one = 1;
    for (;;) {
        int s = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (s < 0) return;
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->socket = s;
#ifdef USE_OPENSSL
        if (tls_context) {
            c->tls = SSL_new(tls_context);
            SSL_set_fd(c->tls, s);
            SSL_set_accept_state(c->tls);
        }
#endif
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, s, &event);
        connections_accepted++;
        if (++connections_open > connections_open_max) connections_open_max = connections_open;
    }
}

static void answer_due(void) {
    uint64_t now = now_ns();
    while (queue_size && queue[queue_first].at_ns <= now) {
        struct due due = queue[queue_first];
        queue_first = (queue_first + 1) % queue_room;
        queue_size--;
        struct connection *c = due.connection;
        c->waiting = false;
        if (c->closed) free_connection(c);
        else if (!respond(c, due.status, due.body.at, due.body.size) || !consume(c)) drop(c);
        free(due.body.at);
    }
}

/* Wake up when the first answer is due; a millisecond's time-out would be too coarse. */
static void arm(int timer) {
    static uint64_t armed = 0;
    uint64_t at = queue_size ? queue[queue_first].at_ns : 0;
    if (at == armed || !at) return;
    armed = at;
    struct itimerspec when = {.it_value = {(time_t)(at / 1000000000u), (long)(at % 1000000000u)}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static const char *certificate = NULL, *certificate_key = NULL;

static void parse(int count, char **words) {
    for (int i = 1; i < count; i++) {
        const char *word = words[i], *value = i + 1 < count ? words[i + 1] : "";
        if (!strcmp(word, "--die-with-parent")) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            continue;
        }
        if (!strcmp(word, "--lag")) {
            lag_wanted = true;
            continue;
        }
        i++;
        if (!strcmp(word, "--delay-ms")) delay_ns = (uint64_t)(strtod(value, NULL) * 1e6);
        else if (!strcmp(word, "--records")) stream_records = strtoull(value, NULL, 10);
        else if (!strcmp(word, "--shards")) stream_shards = strtoull(value, NULL, 10);
        else if (!strcmp(word, "--rate")) stream_rate = strtoull(value, NULL, 10);
        else if (!strcmp(word, "--items")) table_items = strtoull(value, NULL, 10);
        else if (!strcmp(word, "--tls-cert")) certificate = value;
        else if (!strcmp(word, "--tls-key")) certificate_key = value;
        else if (!strcmp(word, "--page")) stream_page = atoi(value);
        else if (!strcmp(word, "--item-bytes")) item_bytes = atoi(value);
        else if (!strcmp(word, "--keys")) {
            uniform_keys = strtoull(value, NULL, 10);
            stream_keys = *value == 'h' ? HOT : *value == 'z' ? ZIPF : uniform_keys ? UNIFORM : UNIQUE;
        }
        else if (!strcmp(word, "--cpu")) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET((size_t)atoi(value), &set);
            sched_setaffinity(0, sizeof set, &set);
        } else if (strcmp(word, "--port")) {
            fprintf(stderr, "stub: unknown option %s (see the head of stub.c)\n", word);
            exit(2);
        }
    }
    if (!stream_shards || stream_shards > SHARDS_MAX || (stream_rate && item_bytes < 192 + 2 + BORN_DIGITS)) {
        fprintf(stderr, "stub: --shards is 1 to %d; with --rate an item has %d bytes or more\n", SHARDS_MAX,
                192 + 2 + BORN_DIGITS);
        exit(2);
    }
#ifdef USE_OPENSSL
    if (certificate && certificate_key) tls_setup(certificate, certificate_key);
#else
    if (certificate || certificate_key) {
        fprintf(stderr, "stub: built without OpenSSL, so there is no TLS\n");
        exit(2);
    }
#endif
}

static int listen_on(int port) {
    int one = 1, s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (s < 0 || bind(s, (void *)&address, sizeof address) || listen(s, 4096)) die("listen");
    getsockname(s, (void *)&address, &size);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return s;
}

int main(int count, char **words) {
    int port = 0;
    if (count == 2 && !strcmp(words[1], "--features")) {
#ifdef USE_OPENSSL
        puts("tls");
#endif
        return 0;
    }
    for (int i = 1; i + 1 < count; i++)
        if (!strcmp(words[i], "--port")) port = atoi(words[i + 1]);
    parse(count, words);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN); /* TLS writes without MSG_NOSIGNAL */
    crc_setup();
    zipf_setup();
    record_setup();
    item_setup();
    queue = malloc(queue_room * sizeof *queue);
    poller = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), listener = listen_on(port);
    struct epoll_event events[512];
    events[0] = (struct epoll_event){.events = EPOLLIN, .data.ptr = &listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, events);
    events[0] = (struct epoll_event){.events = EPOLLIN, .data.ptr = &timer};
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, events);
    for (;;) {
        int n = epoll_wait(poller, events, 512, -1);
        for (int i = 0; i < n; i++) {
            void *who = events[i].data.ptr;
            if (who == &listener) {
                accept_all(listener);
            } else if (who == &timer) {
                uint64_t expirations;
                if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timer");
            } else {
                struct connection *c = who;
                bool fine = true;
                if (events[i].events & EPOLLOUT) {
                    watch(c, EPOLLIN | EPOLLRDHUP);
                    fine = flush(c);
                }
                if (fine && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) fine = take(c);
                if (!fine) drop(c);
            }
        }
        answer_due();
        arm(timer);
    }
}

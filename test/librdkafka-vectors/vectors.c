/*
 * Prints what librdkafka's partitioners choose, one line per key:
 *
 *   <partitions> <consistent> <consistent_random> <murmur2> <murmur2_random> <fnv1a> <fnv1a_random>
 *
 * "*" stands for a choice at random. The keys are not printed: key number i is
 * made as in make_key below, which kafka/producer/partitioner_test.go repeats.
 */
#include <librdkafka/rdkafka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 20000, MAX_KEY = 300 };

/* splitmix64: the same in every language. */
static uint64_t state = 0x5bd1e9959747b28c;
static uint64_t next(void) {
        uint64_t z = (state += 0x9e3779b97f4a7c15);
        z          = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z          = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
}

/* Keys whose FNV-1a is the smallest signed number: it has no absolute value. */
static const char *const edge[] = {"2231b98", "19d2100h"};

/*
 * Of 100 keys one is null, one empty, one of the edge cases; the others are
 * random bytes: of 1 to 32, every tenth of up to 300.
 */
static const char *make_key(int i, char *buf, size_t *len) {
        *len = 0;
        switch (i % 100) {
        case 0: return NULL;
        case 1: return buf;
        case 2:
                strcpy(buf, edge[i / 100 % 2]);
                *len = strlen(buf);
                return buf;
        }
        *len = 1 + next() % (i % 10 == 3 ? MAX_KEY : 32);
        for (size_t n = 0; n < *len; n++)
                buf[n] = (char)(next() & 0xff);
        return buf;
}

typedef int32_t partitioner(const rd_kafka_topic_t *, const void *, size_t,
                            int32_t, void *, void *);

static partitioner *const all[] = {
    rd_kafka_msg_partitioner_consistent, rd_kafka_msg_partitioner_consistent_random,
    rd_kafka_msg_partitioner_murmur2,    rd_kafka_msg_partitioner_murmur2_random,
    rd_kafka_msg_partitioner_fnv1a,      rd_kafka_msg_partitioner_fnv1a_random,
};

/* at_random reports whether 1,000 answers for 1,000 partitions differ. */
static int at_random(partitioner *p, rd_kafka_topic_t *t, const char *key, size_t len) {
        int32_t first = p(t, key, len, 1000, NULL, NULL);
        for (int n = 0; n < 1000; n++)
                if (p(t, key, len, 1000, NULL, NULL) != first)
                        return 1;
        return 0;
}

int main(void) {
        char err[512], buf[MAX_KEY + 1];
        rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, NULL, err, sizeof(err));
        if (!rk) {
                fprintf(stderr, "%s\n", err);
                return 1;
        }
        rd_kafka_topic_t *t = rd_kafka_topic_new(rk, "t", NULL);
        printf("# librdkafka %s; made by test/librdkafka-vectors/make.sh\n", rd_kafka_version_str());
        for (int i = 0; i < KEYS; i++) {
                size_t len;
                const char *key    = make_key(i, buf, &len);
                int32_t partitions = 1 + (int32_t)(next() % 1000);
                printf("%" PRId32, partitions);
                for (size_t n = 0; n < sizeof(all) / sizeof(all[0]); n++) {
                        /* Only a key without bytes may go anywhere. */
                        if (len == 0 && at_random(all[n], t, key, len))
                                printf(" *");
                        else
                                printf(" %" PRId32, all[n](t, key, len, partitions, NULL, NULL));
                }
                printf("\n");
        }
        rd_kafka_topic_destroy(t);
        rd_kafka_destroy(rk);
        return 0;
}

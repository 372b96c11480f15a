/* The kernel's 128-bit vectors beside plain C and a scan, without Python: built for another processor
   and run in an emulator by test_match_kernel.py. Ends with the number of differences. */
#include <stdio.h>

#include "../../src/unspread/match/_kernel.c"

enum { ROWS = 12000, QUERIES = 3000, KEY_BITS = 10, KEYS = 1 << KEY_BITS };

static uint64_t front[2 * ROWS], back[2 * ROWS], records[ROWS];
static int64_t ids[ROWS];
static uint8_t dead[ROWS], positions[3 * (CHUNKS * ROWS + 1)];
static uint16_t signatures[CHUNKS * ROWS + 64], chunks[ROWS], following[ROWS];
static uint32_t offsets[CHUNKS * (KEYS + 1)], places[ROWS];
static Query queries[QUERIES];

static uint64_t next_random(void) {
    static uint64_t state = 88172645463325252u; /* xorshift64, Marsaglia 2003 */
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

static int by_query_then_id(const void *left, const void *right) {
    const Hit *a = left, *b = right;
    if (a->query != b->query) return a->query < b->query ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static void fill(void) {
    for (int row = 0; row < ROWS; row++) {
        ids[row] = row, dead[row] = row % 97 == 0;
        for (int word = 0; word < 2; word++)
            front[2 * row + word] = next_random(), back[2 * row + word] = next_random();
    }
    for (unsigned table = 0; table < CHUNKS; table++) {
        for (size_t row = 0; row < ROWS; row++) {
            chunks[row] = chunk_of(front, back, row, table);
            following[row] = chunk_of(front, back, row, (table + 1) % CHUNKS);
        }
        sort_by_key(chunks, following, NULL, ROWS, KEYS, records, offsets + table * (KEYS + 1),
                    signatures + table * ROWS, places);
        for (size_t slot = 0; slot < ROWS; slot++)
            for (int byte = 0; byte < 3; byte++)
                positions[3 * (table * ROWS + slot) + byte] = (uint8_t)(places[slot] >> (8 * byte));
    }
    for (int number = 0; number < QUERIES; number++) {
        const size_t row = next_random() % ROWS;
        memcpy(queries[number].words, front + 2 * row, 16);
        memcpy(queries[number].words + 2, back + 2 * row, 16);
        for (uint64_t flips = 12 + next_random() % 22; flips; flips--) {
            const uint64_t bit = next_random() & 255;
            queries[number].words[bit >> 6] ^= 1ull << (bit & 63);
        }
    }
}

int main(void) {
    fill();
    const Part part = {.rows = ROWS, .ids = ids, .front = front, .back = back, .dead = dead,
                       .kept = ROWS, .key_bits = KEY_BITS, .offsets = offsets,
                       .signatures = signatures, .positions = positions, .keys = KEYS,
                       .usual = usual_size(ROWS, KEYS)};
    Part scanned = part;
    scanned.offsets = NULL;
    size_t matches = 0;
    int differences = 0, given_up = 0;
    for (unsigned radius = 15; radius <= 31; radius += 8) {
        Hits found[5] = {{0}};
        for (uint32_t number = 0; number < QUERIES; number++) {
            kernel_plain.search(&scanned, queries + number, number, radius, ROWS, &found[0]);
            kernel_plain.search(&part, queries + number, number, radius, ROWS, &found[1]);
            kernel_vector.search(&part, queries + number, number, radius, ROWS, &found[2]);
        }
        kernel_plain.join(&part, queries, QUERIES, radius, &found[3], &given_up);
        kernel_vector.join(&part, queries, QUERIES, radius, &found[4], &given_up);
        for (int way = 0; way < 5; way++)
            qsort(found[way].items, found[way].count, sizeof(Hit), by_query_then_id);
        for (int way = 1; way < 5; way++)
            differences += found[way].count != found[0].count ||
                           memcmp(found[way].items, found[0].items, found[0].count * sizeof(Hit));
        matches += found[0].count;
    }
    printf("%s %d\n", kernel_vector.name, matches > 1000 && !given_up ? differences : 99);
    return 0;
}

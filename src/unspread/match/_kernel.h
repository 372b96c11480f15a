/* What every instruction set shares: the data, and the few steps that need no vectors. */
#ifndef UNSPREAD_KERNEL_H
#define UNSPREAD_KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
#define GNU 1
#define PREFETCH(p) __builtin_prefetch(p)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define GNU 0
#define PREFETCH(p) ((void)0)
#define LIKELY(x) (x)
#define UNLIKELY(x) (x)
#endif

enum {
    CHUNKS = 16,
    VALUES = 1 << 16,
    OFFSETS = VALUES + 1,
    FLIPS = 17,
    TABLE_RADIUS = 31,
    BLOCK = 4096,      /* rows scanned, or survivors kept, before they are looked at */
    JOIN_BLOCK = 1 << 18 /* queries joined at once: their rows and orders stay in the cache */
};

enum Status { DONE = 0, OUT_OF_MEMORY = 1, DAMAGED = 2 };

typedef struct {
    uint64_t words[4]; /* permuted */
    uint16_t chunks[CHUNKS];
} Query;

typedef struct {
    int64_t id;
    uint32_t query;
    uint32_t distance;
} Hit;

typedef struct {
    Hit *items;
    size_t count, room;
} Hits;

/* One part, as layout.Part describes it. Every array is checked for its size, and whatever is read
   from one to index another is checked before it is used: files may be damaged. */
typedef struct {
    size_t rows;
    const int64_t *ids;
    const uint64_t *front, *back; /* [rows][2] */
    const uint8_t *dead;
    size_t kept; /* rows in the tables */
    const uint32_t *offsets;
    const uint16_t *signatures;
    const uint8_t *positions;
    size_t clumps, clumped;
    const uint32_t *clump_starts, *clump_radii, *clump_positions;
    const uint64_t *clump_centres, *clump_front, *clump_back;
} Part;

/* Queries in the order of one table. */
typedef struct {
    uint32_t offsets[OFFSETS];
    uint16_t *signatures;
    uint32_t *numbers;
} QueryTable;

typedef struct {
    const char *name;
    void (*permute)(const uint64_t *rows, size_t count, Query *queries);
    enum Status (*search)(const Part *, const Query *, uint32_t number, unsigned radius, size_t limit,
                          Hits *);
    /* What `join` leaves out. */
    enum Status (*scan_clumps)(const Part *, const Query *, uint32_t number, unsigned radius,
                               size_t limit, Hits *);
    /* All queries against the part's tables, or DONE with *given_up if that is not worth it. */
    enum Status (*join)(const Part *, const Query *, size_t count, unsigned radius, Hits *,
                        int *given_up);
    void (*distances)(const uint64_t *front, const uint64_t *back, size_t rows, const uint64_t *row,
                      uint16_t *out);
    enum Status (*scan)(const uint64_t *front, const uint64_t *back, size_t rows,
                        const uint64_t *needles, size_t count, unsigned radius, Hits *);
} Kernel;

/* Set once when the module is loaded. */
extern uint8_t permutation[256];
extern uint64_t permutation_masks[4][4]; /* [to][from]: bits of word `to` that come from `from` */

static inline uint32_t position_at(const Part *part, size_t slot) {
    const uint8_t *at = part->positions + 3 * slot;
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16;
}

static inline int push(Hits *hits, int64_t id, uint32_t query, uint32_t distance) {
    if (UNLIKELY(hits->count == hits->room)) {
        size_t room = hits->room ? 2 * hits->room : 64;
        Hit *items = realloc(hits->items, room * sizeof(Hit));
        if (items == NULL) return 0;
        hits->items = items;
        hits->room = room;
    }
    hits->items[hits->count].id = id;
    hits->items[hits->count].query = query;
    hits->items[hits->count++].distance = distance;
    return 1;
}

static inline void set_chunks(Query *query) {
    for (int word = 0; word < 4; word++)
        for (int part = 0; part < 4; part++)
            query->chunks[4 * word + part] = (uint16_t)(query->words[word] >> (16 * part));
}

/* Sorts records by their highest 16 bits, stably; `other` has the same room. Result in `records`. */
void sort_by_chunk(uint64_t *records, uint64_t *other, size_t count);
/* offsets[v] = how many records have a chunk below v. */
void count_chunks(const uint64_t *records, size_t count, uint32_t *offsets);

#endif

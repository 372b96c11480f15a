/* What every instruction set shares: the data, and the few steps that need no vectors. */
#ifndef UNSPREAD_KERNEL_H
#define UNSPREAD_KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
#define GNU 1
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define PREFETCH(p) __builtin_prefetch(p)
/* Into the second cache: so much at once that the first would not hold it. */
#define PREFETCH_FAR(p) __builtin_prefetch(p, 0, 2)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define GNU 0
#define ALWAYS_INLINE __forceinline
#define PREFETCH(p) ((void)0)
#define PREFETCH_FAR(p) ((void)0)
#define LIKELY(x) (x)
#define UNLIKELY(x) (x)
#endif

enum {
    CHUNKS = 16,
    MOST_KEY_BITS = 16,
    MOST_FLIPS = MOST_KEY_BITS + 1,
    TABLE_RADIUS = 31,
    ROW_BITS = 256,
    MEMBERS = 512,     /* of a clump, or pairs of them, compared at once */
    MANY = 16,         /* of them, more than are looked up before more columns are read */
    BATCH = 64,        /* members looked up at once */
    COLUMNS = 264,     /* for each bit of a row, seven for how many of them are set, and NO_COLUMN */
    NO_COLUMN = COLUMNS - 1,
    BLOCK = 4096,      /* rows scanned, or survivors kept, before they are looked at */
    NEAR = BLOCK / 32, /* places where something is near, before it is looked up */
    STRIDE = 4,        /* inner signatures compared before a branch */
    MEETINGS = 512,
    PADDING = 32 + STRIDE,
    SCANNED = 8,       /* needles at once in a scan */
    AHEAD = 1024,      /* words asked for before they are compared: by itself no processor looks
                          beyond a page */
    BY_QUERY = 1000,   /* from so many queries on, a batch is sorted */
    JOIN_BLOCK = 1 << 20 /* queries joined at once */
};

enum Status { DONE = 0, OUT_OF_MEMORY = 1, DAMAGED = 2 };

typedef struct {
    uint64_t words[4]; /* permuted */
} Query;

/* The secret order of an index's bits: bit i comes from from[i]. */
typedef struct {
    uint8_t from[ROW_BITS];
    uint64_t masks[4][4]; /* [to][from]: bits of word `to` that come from word `from` */
} Order;

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
    unsigned key_bits;
    const uint32_t *offsets;
    const uint16_t *signatures;
    const uint8_t *positions;
    size_t keys, usual; /* 2 ** key_bits; rows that few buckets exceed */
    size_t clumps, clumped;
    const uint32_t *clump_starts, *clump_radii, *clump_positions;
    const uint64_t *clump_centres, *clump_common, *clump_columns, *clump_pairs;
    const uint16_t *clump_paired;
} Part;

typedef struct {
    uint32_t start, count; /* of slots: places in all tables, one after the other */
} Bucket;

/* Which of the 32 signatures from `slot` on are near. */
typedef struct {
    uint32_t slot, lanes;
} Near;

/* Queries in the order of one table, with PADDING, and room for what `join_by_key` needs. */
typedef struct {
    uint64_t *records;
    uint32_t *offsets, *numbers;
    uint16_t *values, *signatures, *thirds;
    uint16_t *column, *row_thirds; /* a chunk of all rows; the same in the table's order */
    uint32_t *twice; /* each inner signature, written twice, and as much room behind them */
} QueryTable;

/* Queries or rows in the order of one table: where buckets begin, the second and the third chunks. */
typedef struct {
    const uint32_t *from;
    const uint16_t *signatures, *thirds;
    size_t count, readable;
} Side;

/* Up to 32 outer signatures beside STRIDE inner ones, from `step` on in bucket `key`; for those from
   `split` on in the bucket beside it. `lanes` are those to which one of them is near, if the bucket has
   so many. */
typedef struct {
    uint32_t outer, key, step, lanes;
    uint16_t split, flipped;
} Meeting;

/* What passed the filter in one table and is still to be looked at. */
typedef struct {
    const Part *part;
    const Query *queries;
    unsigned radius, table;
    int thirds; /* whether all passed the filter of three prefixes, too */
    uint32_t slots[BLOCK], numbers[BLOCK];
    Meeting meetings[MEETINGS];
    size_t count, verified, allowed;
    Hits *hits;
} Survivors;

typedef struct {
    const char *name;
    void (*permute)(const Order *, const uint64_t *rows, size_t count, Query *queries);
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

static inline uint32_t position_at(const Part *part, size_t slot) {
    const uint8_t *at = part->positions + 3 * slot;
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16;
}

/* Of each column of the clumps' members, or of pairs of them. */
static inline size_t column_words(const Part *part, unsigned pairs) {
    const size_t size = (size_t)MEMBERS << pairs;
    return (part->clumped + size - 1) / size * (MEMBERS / 64);
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

static inline uint16_t chunk(const Query *query, unsigned number) {
    number %= CHUNKS;
    return (uint16_t)(query->words[number / 4] >> (16 * (number % 4)));
}

/* The number of the lowest set bit. */
static inline uint32_t lowest(uint64_t mask) {
#if GNU
    return (uint32_t)__builtin_ctzll(mask);
#else
    uint32_t bit = 0;
    while (!(mask >> bit & 1)) bit++;
    return bit;
#endif
}

/* The next way to read a clump that leaves fewer members to be looked up, if there is one: more of
   the columns, up to `most` times eight, or single members instead of pairs. */
static inline void count_more(unsigned *pairs, unsigned *eights, unsigned fewest, unsigned most) {
    if (*eights < most)
        ++*eights;
    else if (*pairs)
        *pairs = 0, *eights = fewest;
}

/* Sorts what is short, or sorted already. */
static inline void in_order(uint32_t *values, size_t count) {
    for (size_t each = 1; each < count; each++) {
        const uint32_t value = values[each];
        size_t at = each;
        for (; at && values[at - 1] > value; at--) values[at] = values[at - 1];
        values[at] = value;
    }
}

/* Like malloc; large memory comes in large pages, where the system has them: queries are met in a
   random order, and small pages would be looked up more often than read. */
void *allocate(size_t bytes);
/* Sorts, stably, by the lowest bits of `chunks`, a key: offsets[k] = how many keys are below k, for k up
   to `keys`, a power of two; `signatures` become the chunks following and `numbers` those given, or
   what counts up, in the order of keys. `records` is room for as many. */
void sort_by_key(const uint16_t *chunks, const uint16_t *following, const uint32_t *given,
                 size_t count, size_t keys, uint64_t *records, uint32_t *offsets,
                 uint16_t *signatures, uint32_t *numbers);
int new_query_table(QueryTable *table, size_t queries, const Part *part, int by_key);
void free_query_table(QueryTable *table);
/* The chunk two behind the key's of every row, in the table's order; `column` is room for all rows. */
enum Status row_thirds(const Part *part, unsigned table, uint16_t *column, uint16_t *thirds);

#endif

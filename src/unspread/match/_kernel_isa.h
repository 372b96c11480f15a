/* The kernel for one instruction set, included once for each with

   ISA(name)   the name with the set's suffix
   TARGET      the attribute that lets the compiler use the set
   LEVEL       3 AVX-512 (BW, BITALG, VPOPCNTDQ), 2 AVX2, 1 any 128-bit vectors, 0 plain C

   A filter on 16-bit signatures, a filter on 128-bit fronts, and what is built on them. */

/* ---- signatures: which of up to LANES differ from `want` in at most `allowed` bits ---- */

#if LEVEL == 3
#define LANES 32
typedef __m512i ISA(Vector);
typedef __mmask32 ISA(Lanes);
TARGET static inline ISA(Lanes) ISA(lanes_from)(uint32_t first) {
    return first < LANES ? ~0u << first : 0;
}
TARGET static inline ISA(Vector) ISA(either)(ISA(Lanes) upper, ISA(Vector) a, ISA(Vector) b) {
    return _mm512_mask_blend_epi16(upper, a, b);
}
TARGET static inline ISA(Vector) ISA(fill_twice)(uint32_t two) { return _mm512_set1_epi32((int)two); }
TARGET static inline ISA(Vector) ISA(fill)(uint16_t value) { return _mm512_set1_epi16((short)value); }
TARGET static inline ISA(Vector) ISA(load)(const uint16_t *from, size_t count, size_t readable) {
    (void)readable;
    return _mm512_maskz_loadu_epi16(count >= LANES ? ~0u : (1u << count) - 1, from);
}
TARGET static inline uint32_t ISA(near16)(ISA(Vector) given, ISA(Vector) want, int allowed) {
    return _mm512_cmple_epu16_mask(_mm512_popcnt_epi16(_mm512_xor_si512(given, want)),
                                   _mm512_set1_epi16((short)allowed));
}
#elif LEVEL == 2
#define LANES 16
typedef __m256i ISA(Vector);
typedef __m256i ISA(Lanes);
TARGET static inline ISA(Lanes) ISA(lanes_from)(uint32_t first) {
    const __m256i lanes = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm256_cmpgt_epi16(lanes, _mm256_set1_epi16((short)(first < LANES ? first : LANES) - 1));
}
TARGET static inline ISA(Vector) ISA(either)(ISA(Lanes) upper, ISA(Vector) a, ISA(Vector) b) {
    return _mm256_blendv_epi8(a, b, upper);
}
TARGET static inline ISA(Vector) ISA(fill_twice)(uint32_t two) { return _mm256_set1_epi32((int)two); }
TARGET static inline ISA(Vector) ISA(fill)(uint16_t value) { return _mm256_set1_epi16((short)value); }
#define ISA_LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
TARGET static inline uint32_t ISA(near16)(ISA(Vector) given, ISA(Vector) want, int allowed) {
    /* At most three bits differ if nothing is left after clearing the lowest one three times. */
    __m256i left = _mm256_xor_si256(given, want);
    for (int bit = 0; bit < allowed; bit++)
        left = _mm256_and_si256(left, _mm256_add_epi16(left, _mm256_set1_epi16(-1)));
    __m256i none = _mm256_cmpeq_epi16(left, _mm256_setzero_si256());
    return (uint32_t)_mm_movemask_epi8(
        _mm_packs_epi16(_mm256_castsi256_si128(none), _mm256_extracti128_si256(none, 1)));
}
#elif LEVEL == 1
#define LANES 8
typedef uint16_t ISA(Vector) __attribute__((vector_size(16)));
typedef uint16_t ISA(Lanes) __attribute__((vector_size(16)));
TARGET static inline ISA(Lanes) ISA(lanes_from)(uint32_t first) {
    const ISA(Vector) lanes = {0, 1, 2, 3, 4, 5, 6, 7};
    return (ISA(Lanes))(lanes >= (uint16_t)(first < LANES ? first : LANES));
}
TARGET static inline ISA(Vector) ISA(either)(ISA(Lanes) upper, ISA(Vector) a, ISA(Vector) b) {
    return (a & ~upper) | (b & upper);
}
TARGET static inline ISA(Vector) ISA(fill_twice)(uint32_t two) {
    ISA(Vector) none = {0};
    return none + (uint16_t)two;
}
TARGET static inline ISA(Vector) ISA(fill)(uint16_t value) {
    ISA(Vector) none = {0};
    return none + value;
}
TARGET static inline ISA(Vector) ISA(loaded)(const uint16_t *from) {
    ISA(Vector) vector;
    memcpy(&vector, from, sizeof vector);
    return vector;
}
#define ISA_LOAD(p) ISA(loaded)(p)
TARGET static inline uint32_t ISA(near16)(ISA(Vector) given, ISA(Vector) want, int allowed) {
    ISA(Vector) left = given ^ want;
    for (int bit = 0; bit < allowed; bit++) left &= left - 1;
    ISA(Vector) none = (ISA(Vector))(left == 0);
    uint64_t halves[2];
    memcpy(halves, &none, sizeof halves);
    uint32_t mask = 0;
    if (halves[0] | halves[1])
        for (int lane = 0; lane < LANES; lane++) mask |= (uint32_t)(none[lane] & 1) << lane;
    return mask;
}
#else
#define LANES 1
typedef uint16_t ISA(Vector);
typedef int ISA(Lanes);
TARGET static inline ISA(Lanes) ISA(lanes_from)(uint32_t first) { return first == 0; }
TARGET static inline ISA(Vector) ISA(either)(ISA(Lanes) upper, ISA(Vector) a, ISA(Vector) b) {
    return upper ? b : a;
}
TARGET static inline ISA(Vector) ISA(fill_twice)(uint32_t two) { return (ISA(Vector))two; }
TARGET static inline ISA(Vector) ISA(fill)(uint16_t value) { return value; }
TARGET static inline ISA(Vector) ISA(load)(const uint16_t *from, size_t count, size_t readable) {
    (void)count, (void)readable;
    return *from;
}
TARGET static inline uint32_t ISA(near16)(ISA(Vector) given, ISA(Vector) want, int allowed) {
    uint16_t left = given ^ want;
    for (int bit = 0; bit < allowed; bit++) left &= (uint16_t)(left - 1);
    return left == 0;
}
#endif

#ifdef ISA_LOAD
/* Reads past `count`, which near16's caller masks, but never past `readable`. */
TARGET static inline ISA(Vector) ISA(load)(const uint16_t *from, size_t count, size_t readable) {
    if (LIKELY(readable >= LANES)) return ISA_LOAD(from);
    uint16_t padded[LANES] = {0};
    memcpy(padded, from, count * sizeof *from);
    return ISA_LOAD(padded);
}
#undef ISA_LOAD
#endif

/* Of up to 32 signatures, those that differ from `want` in at most `allowed` bits: bit i for the one at
   slot + i. */
TARGET static inline uint32_t ISA(near_few)(const Part *part, uint32_t slot, uint32_t count,
                                            ISA(Vector) want, int allowed) {
#if LEVEL == 3
    /* The one or two cache lines where they lie and no other; their first may lie nowhere if there
       is none. */
    const uint16_t *from = part->signatures + slot - (slot == CHUNKS * part->kept);
    const unsigned skip = (uintptr_t)from / 2 % LANES;
    const uint16_t *last = from + count - (count > 0);
    last -= (uintptr_t)last / 2 % LANES;
    const __mmask32 a = ISA(near16)(_mm512_load_si512(from - skip), want, allowed);
    const __mmask32 b = ISA(near16)(_mm512_load_si512(last), want, allowed);
    return (uint32_t)_bzhi_u64(_mm512_kunpackd(b, a) >> skip, count);
#else
    uint32_t mask = 0;
    for (uint32_t at = 0; at < count; at += LANES) {
        const size_t place = (size_t)slot + at;
        ISA(Vector) given =
            ISA(load)(part->signatures + place, count - at, CHUNKS * part->kept - place);
        mask |= ISA(near16)(given, want, allowed) << at;
    }
    return count < 32 ? mask & ((1u << count) - 1) : mask;
#endif
}

/* ---- rows: which of `count` differ from `row` in at most `radius` bits ----

   Fronts first; the backs of eight (four) rows are read if one of their fronts is near. Without
   `back`, fronts decide. */

#if LEVEL >= 2 || (LEVEL == 1 && defined(__aarch64__))
#define POPCOUNT(word) ((unsigned)__builtin_popcountll(word))
#else
static inline unsigned ISA(popcount)(uint64_t word) {
    word -= (word >> 1) & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + ((word >> 2) & 0x3333333333333333u);
    return (unsigned)((((word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u) >> 56);
}
#define POPCOUNT(word) ISA(popcount)(word)
#endif
/* Rows that are mapped from a Parquet file begin at any byte. */
TARGET static inline uint64_t ISA(word)(const void *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}
#define DISTANCE2(a, b) \
    (POPCOUNT(ISA(word)(a) ^ (b)[0]) + POPCOUNT(ISA(word)((a) + 1) ^ (b)[1]))

#if LEVEL == 3
/* Distances of the halves of rows 0 4 1 5 2 6 3 7. */
TARGET static inline __m512i ISA(halves)(const uint64_t *half, __m512i wanted) {
    __m512i a = _mm512_popcnt_epi64(_mm512_xor_si512(_mm512_loadu_si512(half), wanted));
    __m512i b = _mm512_popcnt_epi64(_mm512_xor_si512(_mm512_loadu_si512(half + 8), wanted));
    return _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}
TARGET static inline __m512i ISA(wanted)(const uint64_t *half) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)half));
}
#elif LEVEL == 2
TARGET static inline __m256i ISA(counted)(__m256i words) {
    const __m256i ones = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2,
                                          1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i low = _mm256_shuffle_epi8(ones, _mm256_and_si256(words, nibble));
    __m256i high = _mm256_shuffle_epi8(ones, _mm256_and_si256(_mm256_srli_epi16(words, 4), nibble));
    return _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
}
/* Distances of the halves of rows 0 2 1 3. */
TARGET static inline __m256i ISA(halves)(const uint64_t *half, __m256i wanted) {
    const __m256i *rows = (const __m256i *)half;
    __m256i a = ISA(counted)(_mm256_xor_si256(_mm256_loadu_si256(rows), wanted));
    __m256i b = ISA(counted)(_mm256_xor_si256(_mm256_loadu_si256(rows + 1), wanted));
    return _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}
TARGET static inline __m256i ISA(wanted)(const uint64_t *half) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)half));
}
#endif

TARGET static size_t ISA(near)(const uint64_t *front, const uint64_t *back, size_t count,
                               const uint64_t *row, unsigned radius, uint32_t *out) {
    size_t at = 0, found = 0;
#if LEVEL == 3
    const __m512i low = ISA(wanted)(row), high = ISA(wanted)(row + 2);
    const __m512i bound = _mm512_set1_epi64(radius);
    for (; at + 8 <= count; at += 8) {
        PREFETCH(front + 2 * at + AHEAD), PREFETCH(front + 2 * at + AHEAD + 8);
        __m512i distances = ISA(halves)(front + 2 * at, low);
        uint32_t mask = _mm512_cmple_epu64_mask(distances, bound);
        if (LIKELY(!mask)) continue;
        if (back) {
            distances = _mm512_add_epi64(distances, ISA(halves)(back + 2 * at, high));
            mask = _mm512_cmple_epu64_mask(distances, bound);
        }
        if (!mask) continue;
        for (uint32_t each = 0; each < 8; each++) {
            out[found] = (uint32_t)at + each;
            found += mask >> (2 * (each & 3) + (each >> 2)) & 1;
        }
    }
#elif LEVEL == 2
    const __m256i low = ISA(wanted)(row), high = ISA(wanted)(row + 2);
    const __m256i bound = _mm256_set1_epi64x(radius);
    for (; at + 4 <= count; at += 4) {
        PREFETCH(front + 2 * at + AHEAD);
        __m256i distances = ISA(halves)(front + 2 * at, low);
        __m256i beyond = _mm256_cmpgt_epi64(distances, bound);
        if (LIKELY(_mm256_movemask_pd(_mm256_castsi256_pd(beyond)) == 15)) continue;
        if (back) {
            distances = _mm256_add_epi64(distances, ISA(halves)(back + 2 * at, high));
            beyond = _mm256_cmpgt_epi64(distances, bound);
        }
        const int mask = ~_mm256_movemask_pd(_mm256_castsi256_pd(beyond));
        for (uint32_t each = 0; each < 4; each++) {
            out[found] = (uint32_t)at + each;
            found += mask >> (2 * (each & 1) + (each >> 1)) & 1;
        }
    }
#endif
    for (; at < count; at++) {
        unsigned distance = DISTANCE2(front + 2 * at, row);
        if (back && distance <= radius) distance += DISTANCE2(back + 2 * at, row + 2);
        out[found] = (uint32_t)at;
        found += distance <= radius;
    }
    return found;
}

/* ---- one query ---- */

/* Every row of a part near the query, in order. Stops when more than `limit` were found, all with lower ids than what remains: ids ascend, except in
   the tail, whose limit is SIZE_MAX. */
TARGET static enum Status ISA(scan_part)(const Part *part, const Query *query, uint32_t number,
                                         unsigned radius, size_t limit, Hits *hits) {
    const uint64_t *front = part->front, *back = part->back;
    const size_t rows = part->rows;
    uint32_t near[BLOCK + 1];
    const size_t before = hits->count;
    for (size_t start = 0; start < rows; start += BLOCK) {
        size_t count = rows - start < BLOCK ? rows - start : BLOCK;
        size_t found =
            ISA(near)(front + 2 * start, back + 2 * start, count, query->words, radius, near);
        for (size_t each = 0; each < found; each++) {
            const size_t at = start + near[each];
            unsigned distance = DISTANCE2(front + 2 * at, query->words) +
                                DISTANCE2(back + 2 * at, query->words + 2);
            if (part->dead[at]) continue;
            int64_t id = part->ids[at];
            if (hits->count - before > limit && id > hits->items[hits->count - 1].id) return DONE;
            if (!push(hits, id, number, distance)) return OUT_OF_MEMORY;
        }
    }
    return DONE;
}

/* ---- clumps: bits of many members side by side, added up like numbers ---- */

#if LEVEL == 0
typedef uint64_t ISA(Slice);
#else
typedef uint64_t ISA(Slice) __attribute__((vector_size(LEVEL == 3 ? 64 : 16 * LEVEL)));
#endif

TARGET static ALWAYS_INLINE ISA(Slice) ISA(slice)(const uint64_t *from) {
    ISA(Slice) slice;
    memcpy(&slice, from, sizeof slice);
    return slice;
}
/* Where at least two of three are set. */
TARGET static ALWAYS_INLINE ISA(Slice) ISA(most)(ISA(Slice) a, ISA(Slice) b, ISA(Slice) c) {
#if LEVEL == 3
    return (ISA(Slice))_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0xe8);
#else
    return (a & b) | (c & (a | b));
#endif
}
/* *sum becomes the lower bit of a + b + *sum, the upper one is returned. */
TARGET static ALWAYS_INLINE ISA(Slice) ISA(add)(ISA(Slice) *sum, ISA(Slice) a, ISA(Slice) b) {
    const ISA(Slice) carry = ISA(most)(a, b, *sum);
#if LEVEL == 3
    *sum = (ISA(Slice))_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)*sum, 0x96);
#else
    *sum ^= a ^ b;
#endif
    return carry;
}

/* Of MEMBERS members, or pairs of members, those that may be within the radius by `eights` times 8
   of the bits in which the query differs from the centre.

   A member w bits from the centre that shares v of the query's a bits is a + w - 2v bits from the
   query. The columns are counted by carry-save adders (Harley and Seal, as in "Hacker's Delight"),
   from `bias` on, so that the sum, eight bits in two's complement, is near if it reaches half of w,
   rounded up, or, if `is_odd`, half of w + 1. */
TARGET static ALWAYS_INLINE void ISA(near_members)(const uint64_t *members, size_t stride,
                                                   const size_t *columns, unsigned eights,
                                                   unsigned bias, int is_odd,
                                                   uint64_t near[MEMBERS / 64]) {
    enum { WIDTH = sizeof(ISA(Slice)) / 8, BITS = 8 };
    const ISA(Slice) none = ISA(slice)((const uint64_t[8]){0}), all = ~none;
    for (unsigned word = 0; word < MEMBERS / 64; word += WIDTH) {
        const uint64_t *at = members + word;
        ISA(Slice) sums[BITS];
        for (int bit = 0; bit < BITS; bit++) sums[bit] = bias >> bit & 1 ? all : none;
        for (const size_t *each = columns; each < columns + 8 * eights; each += 8) {
            /* Of the block after next: no processor by itself looks ahead in so many columns. */
            for (int n = 0; n < 8; n++) PREFETCH(at + each[n] + 2 * (MEMBERS / 64));
#define COLUMN(n) ISA(slice)(at + each[n])
#define PAIR(n) ISA(add)(&sums[0], COLUMN(n), COLUMN(n + 1))
            const ISA(Slice) two_a = PAIR(0), two_b = PAIR(2);
            const ISA(Slice) four_a = ISA(add)(&sums[1], two_a, two_b);
            const ISA(Slice) two_c = PAIR(4), two_d = PAIR(6);
            const ISA(Slice) four_b = ISA(add)(&sums[1], two_c, two_d);
            ISA(Slice) carry = ISA(add)(&sums[2], four_a, four_b);
#undef PAIR
#undef COLUMN
            for (int bit = 3; bit < BITS; bit++) {
                const ISA(Slice) next = sums[bit] & carry;
                sums[bit] ^= carry, carry = next;
            }
        }
        const uint64_t *away = at + ROW_BITS * stride;
        ISA(Slice) borrow = is_odd ? all : ISA(slice)(away);
        for (int bit = 0; bit < BITS - 2; bit++)
            borrow = ISA(most)(~sums[bit], borrow, ISA(slice)(away + (bit + 1) * stride));
        borrow = (~sums[BITS - 2] & borrow) | sums[BITS - 1];
        borrow = ~borrow;
        memcpy(near + word, &borrow, sizeof borrow);
    }
}

/* Every member of a clump near the query, `differing` from the centre, in order; stops like
   `scan_part`. */
TARGET static enum Status ISA(scan_clump)(const Part *part, size_t clump, const Query *differing,
                                          const Query *query, uint32_t number, unsigned radius,
                                          size_t limit, Hits *hits) {
    const uint64_t *common = part->clump_common + 4 * clump;
    const size_t start = part->clump_starts[clump], end = part->clump_starts[clump + 1];
    unsigned away = 0, count = 0, free_bits = 0;
    uint16_t bits[ROW_BITS + 8];
    if (start > end || end > part->clumped) return DAMAGED;
    for (unsigned word = 0; word < 4; word++) {
        away += POPCOUNT(differing->words[word]), free_bits += POPCOUNT(~common[word]);
        /* What no member has needs no counting. */
        for (uint64_t left = differing->words[word] & ~common[word]; left; left &= left - 1)
            bits[count++] = (uint16_t)(64 * word + lowest(left));
    }
    for (unsigned each = 0; each < 8; each++) bits[count + each] = NO_COLUMN;
    const unsigned most = (count + 7) / 8, fewest = most < 4 ? most : 4;
    const size_t before = hits->count;
    size_t columns[ROW_BITS + 8], stride = 0, found = 0, blocks = 0;
    uint32_t members[BATCH + 2 * MEMBERS];
    uint16_t distances[BATCH + 2 * MEMBERS];
    /* Members that have many of the bits are not told apart by pairs. */
    unsigned pairs = 3 * part->clump_radii[clump] <= free_bits, eights = fewest;
    for (size_t first = start - start % (2 * MEMBERS); first < end;) {
        const uint64_t *from = pairs ? part->clump_pairs : part->clump_columns;
        if (stride != column_words(part, pairs)) {
            stride = column_words(part, pairs);
            for (unsigned each = 0; each < count + 8; each++) columns[each] = bits[each] * stride;
        }
        const unsigned unread = 8 * eights < count ? count - 8 * eights : 0;
        /* Near needs 2v >= w + wanted, of what is read. */
        const int wanted = (int)away - (int)radius - 2 * (int)unread, is_odd = wanted & 1;
        const unsigned bias = (unsigned)-((wanted - is_odd) / 2);
        const size_t size = (size_t)MEMBERS << pairs;
        const size_t enough = found + (pairs || eights < most ? MANY : 2 * MEMBERS);
        uint64_t near[MEMBERS / 64];
        size_t more = found;
        ISA(near_members)(from + first / size * (MEMBERS / 64), stride, columns, eights, bias, is_odd,
                          near);
        for (unsigned word = 0; word < MEMBERS / 64 && more <= enough; word++)
            for (uint64_t mask = near[word]; mask; mask &= mask - 1) {
                const size_t lane = 64 * word + lowest(mask);
                for (unsigned each = 0; each <= pairs; each++) {
                    const size_t member =
                        first + (pairs ? part->clump_paired[first + 2 * lane + each] : lane);
                    if (member >= start && member < end) members[more++] = (uint32_t)member;
                }
            }
        /* Too many: to count more, of the same ones again, takes less than to look them up. */
        if (more > enough) {
            count_more(&pairs, &eights, fewest, most);
            continue;
        }
        found = more, first += size, blocks++;
        if (found < BATCH && first < end) continue;
        size_t left = 0;
        in_order(members, found);
        for (size_t each = 0; each < found; each++) {
            members[each] = part->clump_positions[members[each]];
            if (UNLIKELY(members[each] >= part->rows)) return DAMAGED;
            PREFETCH(part->front + 2 * (size_t)members[each]);
            PREFETCH(part->back + 2 * (size_t)members[each]);
        }
        for (size_t each = 0; each < found; each++) {
            const size_t position = members[each];
            const unsigned distance = DISTANCE2(part->front + 2 * position, query->words) +
                                      DISTANCE2(part->back + 2 * position, query->words + 2);
            if (LIKELY(distance > radius)) continue;
            PREFETCH(part->ids + position), PREFETCH(part->dead + position);
            members[left] = (uint32_t)position, distances[left++] = (uint16_t)distance;
        }
        for (size_t each = 0; each < left; each++) {
            const size_t position = members[each];
            if (part->dead[position]) continue;
            const int64_t id = part->ids[position];
            if (hits->count - before > limit && id > hits->items[hits->count - 1].id) return DONE;
            if (!push(hits, id, number, distances[each])) return OUT_OF_MEMORY;
        }
        if (found - left > (2u << pairs) * blocks) count_more(&pairs, &eights, fewest, most);
        found = blocks = 0;
    }
    return DONE;
}

/* Of survivors (slot in the tables, number of the query), those within the radius. A row is
   reported from the first table whose filter, of two or three prefixes, it passes: no set is needed to
   tell it once. */
TARGET static enum Status ISA(verify)(const Part *part, const Query *queries, unsigned radius,
                                      unsigned table, int thirds, const uint32_t *slots,
                                      const uint32_t *numbers, size_t count, Hits *hits) {
    const unsigned one = radius / 16, two = radius / 8, three = thirds ? 3 * radius / 16 : 256;
    uint32_t positions[BLOCK];
    for (size_t each = 0; each < count; each++) {
        positions[each] = position_at(part, slots[each]);
        if (UNLIKELY(positions[each] >= part->rows)) return DAMAGED;
        PREFETCH(part->front + 2 * (size_t)positions[each]);
        if (numbers) PREFETCH(queries + numbers[each]);
    }
    for (size_t each = 0; each < count; each++) {
        const Query *query = queries + (numbers ? numbers[each] : 0);
        const size_t at = positions[each];
        const uint64_t *front = part->front + 2 * at, *back = part->back + 2 * at;
        unsigned distance = DISTANCE2(front, query->words);
        if (LIKELY(distance > radius)) continue;
        distance += DISTANCE2(back, query->words + 2);
        if (distance > radius || part->dead[at]) continue;
        Query differing = {{front[0] ^ query->words[0], front[1] ^ query->words[1],
                            back[0] ^ query->words[2], back[1] ^ query->words[3]}};
        unsigned owner =
            numbers ? table : (unsigned)(slots[each] / (part->kept ? part->kept : 1)), first = 0;
        for (; first < CHUNKS; first++) {
            unsigned own = POPCOUNT(chunk(&differing, first));
            unsigned next = own + POPCOUNT(chunk(&differing, first + 1));
            unsigned third = next + POPCOUNT(chunk(&differing, first + 2));
            if (own <= one && next <= two && third <= three) break;
        }
        if (first == owner &&
            !push(hits, part->ids[at], numbers ? numbers[each] : 0, distance))
            return OUT_OF_MEMORY;
    }
    return DONE;
}

/* Whether a bucket may hold a near one. */
TARGET static inline int ISA(may_hold)(const Part *part, Bucket bucket, ISA(Vector) want,
                                       int allowed) {
#if LEVEL == 3
    if (part->usual > 32) {
        /* Whole lines, as many as buckets usually span, with what else lies there; then the last
           one again. */
        const uint16_t *from = part->signatures + bucket.start - (bucket.start == CHUNKS * part->kept);
        const uint16_t *last = from + bucket.count - (bucket.count > 0);
        from -= (uintptr_t)from / 2 % LANES, last -= (uintptr_t)last / 2 % LANES;
        __m512i least = _mm512_set1_epi16(16);
        size_t lines = part->usual / LANES + 2;
        const int longer = (size_t)(last - from) / LANES >= lines;
        do {
            least = _mm512_min_epu16(
                least, _mm512_popcnt_epi16(_mm512_xor_si512(_mm512_load_si512(from), want)));
            from = from < last ? from + LANES : last;
        } while (--lines);
        return longer | (_mm512_cmple_epu16_mask(least, _mm512_set1_epi16((short)allowed)) != 0);
    }
#endif
    const uint32_t count = bucket.count < 32 ? bucket.count : 32;
    return (bucket.count > 32) | (ISA(near_few)(part, bucket.start, count, want, allowed) != 0);
}

/* Looks up the buckets around `key` in a table, and asks for the cache lines that buckets usually
   span; how many rows they hold, or SIZE_MAX if that cannot be. */
TARGET static inline size_t ISA(look_up)(const Part *part, unsigned table, uint32_t key,
                                         unsigned flips, Bucket *buckets) {
    const uint32_t *offsets = part->offsets + table * (part->keys + 1);
    const uint32_t base = (uint32_t)(table * part->kept), kept = (uint32_t)part->kept;
    const uint16_t *signatures = part->signatures + base;
    const size_t usual = part->usual;
    size_t total = 0;
    int wrong = 0;
    for (unsigned flip = 0; flip < flips; flip++) {
        const uint32_t near = key ^ (1u << flip >> 1);
        const uint32_t start = offsets[near], end = offsets[near + 1];
        wrong |= (start > end) | (end > kept);
        total += end - start;
        buckets[flip].start = base + start, buckets[flip].count = end - start;
        PREFETCH_FAR(signatures + start);
        for (size_t line = 32; line < usual; line += 32) PREFETCH_FAR(signatures + start + line);
        PREFETCH_FAR(signatures + start + usual);
    }
    return wrong ? SIZE_MAX : total;
}

/* Looks up what is near. */
TARGET static enum Status ISA(verify_near)(const Part *part, const Query *query, unsigned radius,
                                           const Near *near, size_t count, Hits *hits) {
    uint32_t slots[32 * NEAR];
    size_t survivors = 0;
    for (size_t each = 0; each < count; each++)
        for (uint32_t lanes = near[each].lanes; lanes; lanes &= lanes - 1) {
            slots[survivors] = near[each].slot + lowest(lanes);
            PREFETCH(part->positions + 3 * (size_t)slots[survivors++]);
        }
    return ISA(verify)(part, query, radius, 0, 0, slots, NULL, survivors, hits);
}

TARGET static enum Status ISA(probe)(const Part *part, const Query *query, unsigned radius,
                                     Hits *hits, int *too_many) {
    const unsigned flips = radius / 16 ? part->key_bits + 1 : 1;
    const int allowed = (int)(radius / 8);
    Bucket buckets[CHUNKS][MOST_FLIPS];
    uint32_t noted[CHUNKS * MOST_FLIPS + 1];
    size_t total = 0, notes = 0;
    if (part->kept == 0) return DONE;
    for (unsigned table = 0; table < CHUNKS; table++) {
        const uint32_t key = chunk(query, table) & (uint32_t)(part->keys - 1);
        const size_t rows = ISA(look_up)(part, table, key, flips, buckets[table]);
        if (UNLIKELY(rows == SIZE_MAX)) return DAMAGED;
        total += rows;
    }
    /* A list made to overfill these buckets: reading every front takes less than every survivor. */
    if (UNLIKELY(total > part->rows / 16 + BLOCK)) {
        *too_many = 1;
        return DONE;
    }
    /* Which buckets hold a near one is a matter of chance: to guess wrong costs more than to note it. */
    for (unsigned table = 0; table < CHUNKS; table++) {
        const ISA(Vector) want = ISA(fill)(chunk(query, table + 1));
        for (unsigned flip = 0; flip < flips; flip++) {
            const Bucket bucket = buckets[table][flip];
            noted[notes] = table * MOST_FLIPS + flip;
            notes += ISA(may_hold)(part, bucket, want, allowed - (flip != 0));
        }
    }
    /* So it is with the places in such a bucket: as many are looked at as buckets usually have. */
    Near near[NEAR];
    size_t count = 0;
    for (size_t note = 0; note < notes; note++) {
        const unsigned table = noted[note] / MOST_FLIPS, flip = noted[note] % MOST_FLIPS;
        const ISA(Vector) want = ISA(fill)(chunk(query, table + 1));
        const Bucket bucket = buckets[table][flip];
        const uint32_t longest = bucket.count > part->usual ? bucket.count : (uint32_t)part->usual;
        for (uint32_t at = 0; at < longest; at += 32) {
            const uint32_t from = at < bucket.count ? at : bucket.count;
            const uint32_t left = bucket.count - from, slot = bucket.start + from;
            const uint32_t lanes =
                ISA(near_few)(part, slot, left < 32 ? left : 32, want, allowed - (flip != 0));
            near[count] = (Near){slot, lanes};
            count += lanes != 0;
            if (UNLIKELY(count == NEAR)) {
                enum Status status = ISA(verify_near)(part, query, radius, near, count, hits);
                if (status) return status;
                count = 0;
            }
        }
    }
    return ISA(verify_near)(part, query, radius, near, count, hits);
}

TARGET static enum Status ISA(scan_clumps)(const Part *part, const Query *query, uint32_t number,
                                           unsigned radius, size_t limit, Hits *hits) {
    for (size_t clump = 0; clump < part->clumps; clump++) {
        const uint64_t *centre = part->clump_centres + 4 * clump;
        const uint64_t *common = part->clump_common + 4 * clump;
        Query differing;
        unsigned away = 0, beyond = 0;
        for (int word = 0; word < 4; word++) {
            differing.words[word] = centre[word] ^ query->words[word];
            away += POPCOUNT(differing.words[word]);
        }
        if (LIKELY(away > part->clump_radii[clump] + radius)) continue;
        for (int word = 0; word < 4; word++) beyond += POPCOUNT(differing.words[word] & common[word]);
        if (beyond > radius) continue;
        enum Status status =
            ISA(scan_clump)(part, clump, &differing, query, number, radius, limit, hits);
        if (status) return status;
    }
    return DONE;
}

TARGET static enum Status ISA(search)(const Part *part, const Query *query, uint32_t number,
                                      unsigned radius, size_t limit, Hits *hits) {
    const size_t before = hits->count;
    if (part->offsets && radius <= TABLE_RADIUS) {
        int too_many = 0;
        enum Status status = ISA(probe)(part, query, radius, hits, &too_many);
        if (status) return status;
        for (size_t each = before; each < hits->count; each++) hits->items[each].query = number;
        if (!too_many) return ISA(scan_clumps)(part, query, number, radius, limit, hits);
    }
    return ISA(scan_part)(part, query, number, radius, limit, hits);
}

/* ---- many queries ---- */

TARGET static enum Status ISA(flush)(Survivors *survivors) {
    enum Status status =
        ISA(verify)(survivors->part, survivors->queries, survivors->radius, survivors->table,
                    survivors->thirds, survivors->slots, survivors->numbers, survivors->count, survivors->hits);
    survivors->verified += survivors->count;
    survivors->count = 0;
    return status;
}

/* Few queries, in the table's order: neighbours find the lines that they share in the cache. */
TARGET static enum Status ISA(join_by_query)(const QueryTable *sorted, size_t count,
                                             Survivors *survivors) {
    const Part *part = survivors->part;
    const unsigned flips = survivors->radius / 16 ? part->key_bits + 1 : 1;
    const int allowed = (int)(survivors->radius / 8);
    const uint32_t *offsets = part->offsets + survivors->table * (part->keys + 1);
    const size_t base = survivors->table * part->kept, readable = CHUNKS * part->kept;
    const size_t usual = part->usual;
    for (size_t each = 0; each < count; each++) {
        const uint32_t value = sorted->values[each];
        const ISA(Vector) want = ISA(fill)(sorted->signatures[each]);
        /* Values past the last query are 0. */
        const uint32_t soon = sorted->values[each + 1], later = sorted->values[each + 3];
        for (unsigned flip = 0; flip < flips; flip++) {
            const uint32_t bit = flip ? 1u << (flip - 1) : 0, near = value ^ bit;
            PREFETCH(offsets + (later ^ bit));
            const uint16_t *ahead = part->signatures + base + offsets[soon ^ bit];
            PREFETCH(ahead);
            for (size_t line = 32; line < usual; line += 32) PREFETCH(ahead + line);
            PREFETCH(ahead + usual);
            const uint32_t start = offsets[near], end = offsets[near + 1];
            if (UNLIKELY(start > end || end > part->kept)) return DAMAGED;
            for (size_t at = base + start; at < base + end; at += LANES) {
                const size_t width = base + end - at;
                ISA(Vector) given = ISA(load)(part->signatures + at, width, readable - at);
                uint32_t mask = ISA(near16)(given, want, flip ? allowed - 1 : allowed);
                if (width < 32) mask &= (1u << width) - 1;
                if (LIKELY(!mask)) continue;
                if (UNLIKELY(survivors->count > BLOCK - LANES)) {
                    enum Status status = ISA(flush)(survivors);
                    if (status) return status;
                }
                for (; mask; mask &= mask - 1) {
                    survivors->slots[survivors->count] = (uint32_t)at + lowest(mask);
                    survivors->numbers[survivors->count++] = sorted->numbers[each];
                }
            }
        }
        if (UNLIKELY(survivors->verified > survivors->allowed)) break;
    }
    return ISA(flush)(survivors);
}

/* Which lanes of `given` are near one of STRIDE inner signatures of their bucket: those of `high` for
   the lanes in `upper`, else those of `low`. */
TARGET static inline uint32_t ISA(near_any)(ISA(Vector) given, const uint32_t *low,
                                            const uint32_t *high, ISA(Lanes) upper, uint32_t real,
                                            int allowed) {
    ISA(Vector) want[STRIDE];
    for (int each = 0; each < STRIDE; each++)
        want[each] = ISA(either)(upper, ISA(fill_twice)(low[each]), ISA(fill_twice)(high[each]));
#if LEVEL == 3
    __m512i least = _mm512_popcnt_epi16(_mm512_xor_si512(given, want[0]));
    for (int each = 1; each < STRIDE; each++)
        least = _mm512_min_epu16(least, _mm512_popcnt_epi16(_mm512_xor_si512(given, want[each])));
    return _mm512_mask_cmple_epu16_mask(real, least, _mm512_set1_epi16((short)allowed));
#else
    uint32_t near = 0;
    for (int each = 0; each < STRIDE; each++) near |= ISA(near16)(given, want[each], allowed);
    return near & real;
#endif
}

/* Which of STRIDE second chunks, each twice, and third ones differ in at most `two` bits from `second`,
   and in at most `three` together with `third`. */
TARGET static inline uint32_t ISA(near_thirds)(const uint32_t *twice, const uint16_t *thirds,
                                               unsigned second, unsigned third, unsigned two,
                                               unsigned three) {
#if LEVEL == 3
    __m128i own = _mm_popcnt_epi32(_mm_xor_si128(_mm_loadu_si128((const __m128i *)twice),
                                                 _mm_set1_epi16((short)second)));
    __m128i next = _mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)thirds));
    next = _mm_popcnt_epi32(_mm_xor_si128(next, _mm_set1_epi32((int)third)));
    /* Twice as many, because each stands there twice. */
    const __m128i sum = _mm_add_epi32(own, _mm_add_epi32(next, next));
    return _mm_mask_cmple_epu32_mask(
        _mm_cmple_epu32_mask(own, _mm_set1_epi32((int)(2 * two))), sum, _mm_set1_epi32((int)(2 * three)));
#else
    uint32_t near = 0;
    for (int each = 0; each < STRIDE; each++) {
        const unsigned own = POPCOUNT((second ^ twice[each]) & 0xffff);
        near |= (uint32_t)((own <= two) & (own + POPCOUNT(third ^ thirds[each]) <= three)) << each;
    }
    return near;
#endif
}

/* Takes the pairs out of meetings, and keeps those whose third chunks are near, too. */
TARGET static enum Status ISA(settle)(const QueryTable *sorted, const Side *outer, const Side *inner,
                                      int rows_are_outer, size_t met, Survivors *survivors) {
    const uint32_t base = (uint32_t)(survivors->table * survivors->part->kept);
    const unsigned two = survivors->radius / 8, three = 3 * survivors->radius / 16;
    for (size_t number = 0; number < met; number++) {
        const Meeting *meeting = &survivors->meetings[number];
        if (UNLIKELY(survivors->count > BLOCK - STRIDE * 32)) {
            enum Status status = ISA(flush)(survivors);
            if (status) return status;
        }
        for (uint32_t lanes = meeting->lanes; lanes; lanes &= lanes - 1) {
            const uint32_t lane = lowest(lanes), upper = lane >= meeting->split;
            const uint32_t *bucket = inner->from + (meeting->key ^ upper);
            const uint32_t here = meeting->outer + lane, first = bucket[0] + meeting->step;
            const unsigned second = outer->signatures[here], third = outer->thirds[here];
            uint32_t near = ISA(near_thirds)(sorted->twice + first, inner->thirds + first, second, third,
                                             two - meeting->flipped, three - meeting->flipped);
            if (LIKELY(!near)) continue;
            for (; near; near &= near - 1) {
                const uint32_t there = first + lowest(near);
                if (there >= bucket[1]) break;
                survivors->slots[survivors->count] = base + (rows_are_outer ? here : there);
                survivors->numbers[survivors->count++] =
                    sorted->numbers[rows_are_outer ? there : here];
            }
        }
    }
    return DONE;
}

/* As many queries as there are keys: meets every signature of one side with those of the other in
   the buckets around it. The side with the fuller buckets is the outer one, in vectors, two buckets
   that lie side by side at once; so do their neighbours on the inner side. */
TARGET static enum Status ISA(join_by_key)(const QueryTable *sorted, size_t count,
                                           Survivors *survivors) {
    const Part *part = survivors->part;
    const unsigned flips = survivors->radius / 16 ? part->key_bits + 1 : 1;
    const int allowed = (int)(survivors->radius / 8), rows_are_outer = part->kept >= count;
    const size_t base = survivors->table * part->kept;
    const Side queries = {sorted->offsets, sorted->signatures, sorted->thirds, count, count + PADDING};
    const Side rows = {part->offsets + survivors->table * (part->keys + 1), part->signatures + base,
                       sorted->row_thirds, part->kept, CHUNKS * part->kept - base};
    const Side *outer = rows_are_outer ? &rows : &queries, *inner = rows_are_outer ? &queries : &rows;
    size_t met = 0;
    for (size_t each = 0; each < inner->count; each++)
        sorted->twice[each] = inner->signatures[each] * 0x10001u;

    for (uint32_t key = 0; key < part->keys; key += 2) {
        const uint32_t start = outer->from[key], middle = outer->from[key + 1];
        const uint32_t end = outer->from[key + 2];
        if (UNLIKELY(start > middle || middle > end || end > outer->count)) return DAMAGED;
        for (uint32_t at = start; at < end; at += LANES) {
            const uint32_t width = end - at, split = middle <= at ? 0 : middle - at < LANES ? middle - at : LANES;
            const uint32_t real = width < 32 ? (1u << width) - 1 : ~0u;
            const ISA(Lanes) upper = ISA(lanes_from)(split);
            const ISA(Vector) given = ISA(load)(outer->signatures + at, width, outer->readable - at);
            for (unsigned flip = 0; flip < flips; flip++) {
                const uint32_t low = key ^ (1u << flip >> 1), high = low ^ 1;
                const uint32_t low_from = inner->from[low], low_to = inner->from[low + 1];
                const uint32_t high_from = inner->from[high], high_to = inner->from[high + 1];
                if (UNLIKELY(low_from > low_to || low_to > inner->count || high_from > high_to ||
                             high_to > inner->count))
                    return DAMAGED;
                const uint32_t lows = low_to - low_from, highs = high_to - high_from;
                const uint32_t longer = lows > highs ? lows : highs;
                const int bound = allowed - (flip != 0);
                /* Four at a time, noted without a branch: to guess one wrong costs more than to
                   compare a few signatures too many. */
                for (uint32_t step = 0; step < longer; step += STRIDE) {
                    const uint32_t *a = sorted->twice + low_from + step;
                    const uint32_t *b = sorted->twice + high_from + step;
                    Meeting *meeting = &survivors->meetings[met];
                    const uint32_t lanes = ISA(near_any)(given, a, b, upper, real, bound);
                    meeting->outer = at, meeting->split = (uint16_t)split;
                    meeting->flipped = flip != 0, meeting->key = low, meeting->step = step;
                    meeting->lanes = lanes;
                    met += lanes != 0;
                    if (UNLIKELY(met == MEETINGS)) {
                        enum Status status = ISA(settle)(sorted, outer, inner, rows_are_outer, met, survivors);
                        if (status) return status;
                        met = 0;
                    }
                }
            }
        }
        if (UNLIKELY(survivors->verified > survivors->allowed)) break;
    }
    enum Status status = ISA(settle)(sorted, outer, inner, rows_are_outer, met, survivors);
    return status ? status : ISA(flush)(survivors);
}

TARGET static enum Status ISA(join)(const Part *part, const Query *queries, size_t count,
                                    unsigned radius, Hits *hits, int *given_up) {
    const size_t before = hits->count;
    const int by_key = part->keys > 1 && count >= part->keys + part->kept / 8;
    enum Status status = OUT_OF_MEMORY;
    /* Overfull buckets: one by one, each query finds for itself what is cheapest. */
    Survivors survivors = {.part = part, .queries = queries, .radius = radius, .thirds = by_key,
                           .hits = hits,
                           .allowed = count * 2048 + (1u << 20)};
    QueryTable sorted = {0};
    uint16_t *columns = allocate(CHUNKS * count * sizeof *columns);
    if (columns && new_query_table(&sorted, count, part, by_key)) status = DONE;
    for (size_t each = 0; each < count && !status; each++)
        for (unsigned number = 0; number < CHUNKS; number++)
            columns[number * count + each] = chunk(queries + each, number);
    for (unsigned table = 0; table < CHUNKS && !status && !*given_up; table++) {
        const uint16_t *third = columns + (table + 2) % CHUNKS * count;
        sort_by_key(columns + table * count, columns + (table + 1) % CHUNKS * count, NULL, count,
                    part->keys, sorted.records, sorted.offsets, sorted.signatures, sorted.numbers);
        survivors.table = table;
        if (by_key) {
            for (size_t each = 0; each < count; each++) sorted.thirds[each] = third[sorted.numbers[each]];
            status = row_thirds(part, table, sorted.column, sorted.row_thirds);
            if (!status) status = ISA(join_by_key)(&sorted, count, &survivors);
        } else {
            for (uint32_t key = 0; key < part->keys; key++)
                for (uint32_t at = sorted.offsets[key]; at < sorted.offsets[key + 1]; at++)
                    sorted.values[at] = (uint16_t)key;
            status = ISA(join_by_query)(&sorted, count, &survivors);
        }
        *given_up = survivors.verified > survivors.allowed;
    }
    if (*given_up) hits->count = before;
    free_query_table(&sorted), free(columns);
    return status;
}

/* ---- plain arrays ---- */

TARGET static void ISA(permute)(const Order *order, const uint64_t *rows, size_t count,
                                Query *queries) {
#if LEVEL == 3
    __m512i from[4];
    for (int word = 0; word < 4; word++) from[word] = _mm512_loadu_si512(order->from + 64 * word);
#endif
    for (size_t row = 0; row < count; row++) {
        const uint64_t *given = rows + 4 * row;
        for (int to = 0; to < 4; to++) {
            uint64_t word = 0;
#if LEVEL == 3
            for (int source = 0; source < 4; source++)
                word |= _mm512_bitshuffle_epi64_mask(_mm512_set1_epi64((long long)given[source]),
                                                     from[to]) &
                        order->masks[to][source];
#else
            for (int bit = 0; bit < 64; bit++) {
                unsigned source = order->from[64 * to + bit];
                word |= (given[source >> 6] >> (source & 63) & 1) << bit;
            }
#endif
            queries[row].words[to] = word;
        }
    }
}

TARGET static void ISA(distances)(const uint64_t *front, const uint64_t *back, size_t rows,
                                  const uint64_t *row, uint16_t *out) {
    for (size_t at = 0; at < rows; at++)
        out[at] = (uint16_t)(DISTANCE2(front + 2 * at, row) + DISTANCE2(back + 2 * at, row + 2));
}

/* Rows from..to against needles first..first + count, pair by pair. */
TARGET static enum Status ISA(scan_pairs)(const uint64_t *front, const uint64_t *back, size_t from,
                                          size_t to, const uint64_t *needles, size_t first,
                                          size_t count, unsigned radius, Hits *hits) {
    uint32_t near[BLOCK + 1];
    for (size_t needle = first; needle < first + count; needle++) {
        const uint64_t *wanted = needles + 4 * needle;
        const size_t found = ISA(near)(front + 2 * from, back ? back + 2 * from : NULL, to - from,
                                       wanted, radius, near);
        for (size_t each = 0; each < found; each++) {
            const size_t at = from + near[each];
            unsigned distance = DISTANCE2(front + 2 * at, wanted);
            if (back) distance += DISTANCE2(back + 2 * at, wanted + 2);
            if (!push(hits, (int64_t)at, (uint32_t)needle, distance))
                return OUT_OF_MEMORY;
        }
    }
    return DONE;
}

#if LEVEL == 3
/* Rows from..to, multiples of 8, against `count` needles at once, given as `wanted`, each word eight
   times. `count` is a constant wherever this is inlined. */
TARGET static ALWAYS_INLINE enum Status ISA(scan_few)(const uint64_t *front, const uint64_t *back,
                                                      size_t from, size_t to,
                                                      const uint64_t *needles, size_t first,
                                                      size_t real, size_t count, unsigned radius,
                                                      Hits *hits) {
    const __m512i bound = _mm512_set1_epi64(radius);
    __m512i low[SCANNED], high[SCANNED];
    for (size_t each = 0; each < count; each++) {
        const uint64_t *needle = needles + 4 * (first + (each < real ? each : 0));
        low[each] = _mm512_set1_epi64((long long)needle[0]);
        high[each] = _mm512_set1_epi64((long long)needle[1]);
    }
    for (size_t at = from; at < to; at += 8) {
        const uint64_t *rows = front + 2 * at;
        PREFETCH(rows + AHEAD), PREFETCH(rows + AHEAD + 8);
        const __m512i a = _mm512_loadu_si512(rows), b = _mm512_loadu_si512(rows + 8);
        const __m512i lows = _mm512_unpacklo_epi64(a, b), highs = _mm512_unpackhi_epi64(a, b);
        __m512i least = _mm512_set1_epi64(ROW_BITS);
        for (size_t each = 0; each < count; each++)
            least = _mm512_min_epu32(
                least, _mm512_add_epi64(_mm512_popcnt_epi64(_mm512_xor_si512(lows, low[each])),
                                        _mm512_popcnt_epi64(_mm512_xor_si512(highs, high[each]))));
        if (LIKELY(!_mm512_cmple_epu64_mask(least, bound))) continue;
        enum Status status = ISA(scan_pairs)(front, back, at, at + 8, needles, first, real, radius, hits);
        if (status) return status;
    }
    return DONE;
}
#endif

TARGET static enum Status ISA(scan)(const uint64_t *front, const uint64_t *back, size_t rows,
                                    const uint64_t *needles, size_t count, unsigned radius,
                                    Hits *hits) {
    enum { L1_ROWS = 1024 };
    enum Status status = DONE;
    for (size_t start = 0; start < rows && !status; start += L1_ROWS) {
        const size_t end = rows - start < L1_ROWS ? rows : start + L1_ROWS;
        for (size_t first = 0; first < count && !status; first += SCANNED) {
            const size_t few = count - first < SCANNED ? count - first : SCANNED;
            size_t from = start;
#if LEVEL == 3
            from = end - (end - start) % 8;
#define SCAN_FEW(n) ISA(scan_few)(front, back, start, from, needles, first, few, n, radius, hits)
            status = few == 1   ? SCAN_FEW(1)
                     : few == 2 ? SCAN_FEW(2)
                     : few <= 4 ? SCAN_FEW(4)
                                : SCAN_FEW(SCANNED);
#undef SCAN_FEW
#endif
            if (!status && from < end)
                status = ISA(scan_pairs)(front, back, from, end, needles, first, few, radius, hits);
        }
    }
    return status;
}

static const Kernel ISA(kernel) = {
    ISA_NAME, ISA(permute), ISA(search), ISA(scan_clumps), ISA(join), ISA(distances), ISA(scan),
};

#undef LANES
#undef POPCOUNT
#undef DISTANCE2

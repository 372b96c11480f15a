/* The compiled matching kernel: what Python sees. See docs/matching.md.

   Python's stable ABI and the buffer protocol only; arrays are shared, never copied. Batches,
   scans and builds release the interpreter's lock; so does one query, where it may take long. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "_kernel.h"

/* ---- memory ---- */

void *allocate(size_t bytes) {
#if defined(__linux__)
    const size_t page = 1 << 21;
    if (bytes >= 2 * page) {
        void *memory = NULL;
        if (posix_memalign(&memory, page, bytes) != 0) return NULL;
        madvise(memory, bytes, MADV_HUGEPAGE);
        return memory;
    }
#endif
    return malloc(bytes ? bytes : 1);
}

/* ---- sorting by key ---- */

void sort_by_key(const uint16_t *chunks, const uint16_t *following, const uint32_t *given,
                 size_t count, size_t keys, uint64_t *records, uint32_t *offsets,
                 uint16_t *signatures, uint32_t *numbers) {
    /* First into 64 heaps, which are few enough to be written side by side, and small enough to be
       sorted within the second cache. */
    enum { HEAPS = 64 };
    const uint32_t mask = (uint32_t)keys - 1;
    unsigned shift = 0;
    while (keys >> shift > HEAPS) shift++;
    const size_t width = (size_t)1 << shift;
    uint32_t starts[HEAPS + 1] = {0}, ends[HEAPS];
    for (size_t each = 0; each < count; each++) starts[((chunks[each] & mask) >> shift) + 1]++;
    for (int heap = 0; heap < HEAPS; heap++) {
        starts[heap + 1] += starts[heap];
        ends[heap] = starts[heap];
    }
    for (size_t each = 0; each < count; each++) {
        const uint64_t key = chunks[each] & mask;
        records[ends[key >> shift]++] = key << 48 | (uint64_t)following[each] << 32 |
                                        (given ? given[each] : (uint32_t)each);
    }
    for (size_t heap = 0; heap < keys >> shift; heap++) {
        const uint64_t *from = records + starts[heap], *to = records + starts[heap + 1];
        uint32_t *own = offsets + heap * width, places[(1 << MOST_KEY_BITS) / HEAPS] = {0};
        for (const uint64_t *each = from; each < to; each++) places[(*each >> 48) & (width - 1)]++;
        uint32_t place = starts[heap];
        for (size_t key = 0; key < width; key++) {
            const uint32_t here = places[key];
            own[key] = places[key] = place;
            place += here;
        }
        for (const uint64_t *each = from; each < to; each++) {
            const uint32_t at = places[(*each >> 48) & (width - 1)]++;
            signatures[at] = (uint16_t)(*each >> 32), numbers[at] = (uint32_t)*each;
        }
    }
    offsets[keys] = (uint32_t)count;
}

static uint16_t chunk_of(const uint64_t *front, const uint64_t *back, size_t row, unsigned chunk) {
    const uint64_t *half = chunk < 8 ? front : back;
    return (uint16_t)(half[2 * row + (chunk >> 2 & 1)] >> (16 * (chunk & 3)));
}

int new_query_table(QueryTable *table, size_t queries, const Part *part, int by_key) {
    const size_t room = queries + PADDING, kept = by_key ? part->kept : 0;
    const size_t inner = kept < queries ? kept : queries;
    table->records = allocate(room * sizeof *table->records);
    table->offsets = malloc((part->keys + 1) * sizeof *table->offsets);
    table->numbers = allocate(room * sizeof *table->numbers);
    table->values = by_key ? NULL : calloc(room, sizeof *table->values);
    table->signatures = calloc(room, sizeof *table->signatures);
    table->thirds = allocate(room * sizeof *table->thirds);
    table->column = allocate((by_key ? part->rows : 0) * sizeof *table->column);
    table->row_thirds = allocate((kept + PADDING) * sizeof *table->row_thirds);
    table->twice = allocate((2 * inner + PADDING) * sizeof *table->twice);
    return table->records && table->offsets && table->numbers && (table->values || by_key) &&
           table->signatures && table->thirds && table->column && table->row_thirds && table->twice;
}

void free_query_table(QueryTable *table) {
    free(table->records), free(table->offsets), free(table->numbers);
    free(table->values), free(table->signatures), free(table->thirds), free(table->column);
    free(table->row_thirds), free(table->twice);
}

enum Status row_thirds(const Part *part, unsigned table, uint16_t *column, uint16_t *thirds) {
    const size_t base = table * part->kept;
    for (size_t row = 0; row < part->rows; row++)
        column[row] = chunk_of(part->front, part->back, row, (table + 2) % CHUNKS);
    for (size_t slot = 0; slot < part->kept; slot++) {
        const uint32_t position = position_at(part, base + slot);
        if (UNLIKELY(position >= part->rows)) return DAMAGED;
        thirds[slot] = column[position];
    }
    return DONE;
}

/* ---- one kernel for each instruction set ---- */

#define JOINED(name, suffix) name##_##suffix
#define NAMED(name, suffix) JOINED(name, suffix)
#define ISA(name) NAMED(name, ISA_SUFFIX)

#if GNU && defined(__x86_64__)
#include <immintrin.h>
#define ISA_SUFFIX avx512
#define ISA_NAME "avx512"
#define TARGET                                                                                     \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512bitalg,avx512vpopcntdq,popcnt,bmi,bmi2")))
#define LEVEL 3
#include "_kernel_isa.h"
#undef ISA_SUFFIX
#undef ISA_NAME
#undef TARGET
#undef LEVEL
#define ISA_SUFFIX avx2
#define ISA_NAME "avx2"
#define TARGET __attribute__((target("avx2,popcnt,bmi,bmi2")))
#define LEVEL 2
#include "_kernel_isa.h"
#undef ISA_SUFFIX
#undef ISA_NAME
#undef TARGET
#undef LEVEL
#endif

#define TARGET
#if GNU
#define ISA_SUFFIX vector
#define LEVEL 1
#if defined(__aarch64__)
#define ISA_NAME "neon"
#elif defined(__SSE2__)
#define ISA_NAME "sse2"
#else
#define ISA_NAME "vector"
#endif
#include "_kernel_isa.h"
#undef ISA_SUFFIX
#undef ISA_NAME
#undef LEVEL
#endif
#define ISA_SUFFIX plain
#define ISA_NAME "plain"
#define LEVEL 0
#include "_kernel_isa.h"

/* Fastest first, as far as this processor has them. */
static const Kernel *kernels[4];
static int kernel_count;

static void find_kernels(void) {
    kernel_count = 0;
#if GNU && defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bitalg") && __builtin_cpu_supports("avx512vpopcntdq") &&
        __builtin_cpu_supports("bmi2"))
        kernels[kernel_count++] = &kernel_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") &&
        __builtin_cpu_supports("bmi2"))
        kernels[kernel_count++] = &kernel_avx2;
#endif
#if GNU
    kernels[kernel_count++] = &kernel_vector;
#endif
    kernels[kernel_count++] = &kernel_plain;
}

/* ---- views ---- */

static PyObject *input_error;
static PyTypeObject *view_type;

enum { ARRAYS = 16 };

typedef struct {
    PyObject_HEAD
    Part part;
    Order order;
    const Kernel *kernel;
    Py_buffer buffers[ARRAYS];
} View;

static PyObject *fail(enum Status status) {
    if (status == OUT_OF_MEMORY) return PyErr_NoMemory();
    PyErr_SetString(input_error, "the index is damaged: its tables contradict each other");
    return NULL;
}

static const Kernel *kernel_named(const char *name) {
    for (int each = 0; each < kernel_count; each++)
        if (strcmp(kernels[each]->name, name) == 0) return kernels[each];
    PyErr_Format(input_error, "no kernel called %s on this machine", name);
    return NULL;
}

/* The bytes of a contiguous buffer that must hold `size` of them (any number if negative). */
static int take(PyObject *from, Py_buffer *buffer, Py_ssize_t size, int flags) {
    if (PyObject_GetBuffer(from, buffer, PyBUF_C_CONTIGUOUS | flags) < 0) return 0;
    if (size < 0 || buffer->len == size) return 1;
    PyErr_Format(input_error, "an array of the index has %zd bytes, not %zd", buffer->len, size);
    PyBuffer_Release(buffer);
    buffer->obj = NULL;
    return 0;
}

/* The mean of a bucket's rows and two standard deviations more, for rows without a pattern. */
static size_t usual_size(size_t kept, size_t keys) {
    const size_t mean = kept / keys;
    size_t root = 0;
    while (root * root < mean) root++;
    return mean + 2 * root;
}

/* How many keys a directory of so many bytes has; 0 and an error if it is none. */
static size_t keys_of(Py_ssize_t bytes) {
    const size_t keys = (size_t)bytes / (4 * CHUNKS) - 1;
    if (bytes >= 8 * CHUNKS && bytes % (4 * CHUNKS) == 0 && keys <= 1 << MOST_KEY_BITS &&
        (keys & (keys - 1)) == 0)
        return keys;
    PyErr_Format(input_error, "a directory of the index has %zd bytes", bytes);
    return 0;
}

/* The order that 256 bytes give; whatever they are, none points outside a row. */
static int take_order(PyObject *from, Py_buffer *buffer, Order *order) {
    if (!take(from, buffer, ROW_BITS, 0)) return 0;
    memcpy(order->from, buffer->buf, ROW_BITS);
    memset(order->masks, 0, sizeof order->masks);
    for (int bit = 0; bit < ROW_BITS; bit++)
        order->masks[bit >> 6][order->from[bit] >> 6] |= 1ull << (bit & 63);
    return 1;
}

static PyObject *view_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    const char *name;
    PyObject *given[ARRAYS];
    if (!PyArg_ParseTuple(args, "sOOOOOOOOOOOOOOOO:View", &name, &given[15], &given[0], &given[1],
                          &given[2], &given[3], &given[4], &given[5], &given[6], &given[7],
                          &given[8], &given[9], &given[10], &given[11], &given[12], &given[13],
                          &given[14]))
        return NULL;
    const Kernel *kernel = kernel_named(name);
    if (kernel == NULL) return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    View *view = (View *)allocate(type, 0);
    if (view == NULL) return NULL;
    view->kernel = kernel;
    Part *part = &view->part;
    Py_buffer *buffer = view->buffers;
    if (!take_order(given[15], &buffer[15], &view->order) || !take(given[0], &buffer[0], -1, 0))
        goto failed;
    part->rows = (size_t)buffer[0].len / 8;
    Py_ssize_t rows = (Py_ssize_t)part->rows;
    if (rows * 8 != buffer[0].len || !take(given[1], &buffer[1], 16 * rows, 0) ||
        !take(given[2], &buffer[2], 16 * rows, 0) || !take(given[3], &buffer[3], rows, 0))
        goto failed;
    part->ids = buffer[0].buf, part->front = buffer[1].buf, part->back = buffer[2].buf;
    part->dead = buffer[3].buf;
    if (given[4] != Py_None) {
        if (!take(given[5], &buffer[5], -1, 0)) goto failed;
        part->kept = (size_t)buffer[5].len / (2 * CHUNKS);
        Py_ssize_t kept = (Py_ssize_t)part->kept;
        if (kept * 2 * CHUNKS != buffer[5].len ||
            !take(given[4], &buffer[4], -1, 0) || !(part->keys = keys_of(buffer[4].len)) ||
            !take(given[6], &buffer[6], 3 * (CHUNKS * kept + 1), 0))
            goto failed;
        part->offsets = buffer[4].buf, part->signatures = buffer[5].buf;
        part->positions = buffer[6].buf;
        while (part->keys >> part->key_bits > 1) part->key_bits++;
        part->usual = usual_size(part->kept, part->keys);
    }
    if (given[7] != Py_None) {
        if (!take(given[9], &buffer[9], -1, 0) || !take(given[10], &buffer[10], -1, 0)) goto failed;
        part->clumps = (size_t)buffer[9].len / 4, part->clumped = (size_t)buffer[10].len / 4;
        Py_ssize_t clumps = (Py_ssize_t)part->clumps;
        if (!take(given[7], &buffer[7], 4 * (clumps + 1), 0) ||
            !take(given[8], &buffer[8], 32 * clumps, 0) ||
            !take(given[11], &buffer[11], 32 * clumps, 0) ||
            !take(given[12], &buffer[12], 8 * (Py_ssize_t)(COLUMNS * column_words(part, 0)), 0) ||
            !take(given[13], &buffer[13], 8 * (Py_ssize_t)(COLUMNS * column_words(part, 1)), 0) ||
            !take(given[14], &buffer[14], 256 * (Py_ssize_t)column_words(part, 1), 0))
            goto failed;
        part->clump_starts = buffer[7].buf, part->clump_centres = buffer[8].buf;
        part->clump_radii = buffer[9].buf, part->clump_positions = buffer[10].buf;
        part->clump_common = buffer[11].buf, part->clump_columns = buffer[12].buf;
        part->clump_pairs = buffer[13].buf, part->clump_paired = buffer[14].buf;
    }
    return (PyObject *)view;
failed:
    if (!PyErr_Occurred()) PyErr_SetString(input_error, "an array of the index is cut short");
    Py_DECREF(view);
    return NULL;
}

static void view_dealloc(PyObject *self) {
    View *view = (View *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (int each = 0; each < ARRAYS; each++)
        if (view->buffers[each].obj != NULL) PyBuffer_Release(&view->buffers[each]);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* ---- queries ---- */

typedef struct {
    PyObject *views;
    Py_ssize_t count;
    size_t tail_rows;
    unsigned radius;
    size_t limit;
    size_t rows; /* in all views */
} Question;

static int asked(PyObject *const *args, Question *question) {
    Py_ssize_t tail_rows = PyLong_AsSsize_t(args[1]), limit = PyLong_AsSsize_t(args[4]);
    long radius = PyLong_AsLong(args[3]);
    if (PyErr_Occurred()) return 0;
    question->views = args[0];
    question->count = PyTuple_Size(args[0]);
    if (question->count < 0) return 0;
    question->tail_rows = (size_t)tail_rows;
    question->radius = (unsigned)radius;
    question->limit = (size_t)limit;
    question->rows = 0;
    if (tail_rows < 0 || limit < 1 || radius < 0 || radius > 256 || question->count < 1) {
        PyErr_SetString(input_error, "radius_bits is 0 to 256, and limit starts at 1");
        return 0;
    }
    for (Py_ssize_t each = 0; each < question->count; each++) {
        View *view = (View *)PyTuple_GetItem(args[0], each);
        if (view == NULL) return 0;
        if (!PyObject_TypeCheck((PyObject *)view, view_type)) {
            PyErr_SetString(PyExc_TypeError, "a tuple of views wanted");
            return 0;
        }
        if (each == question->count - 1 && question->tail_rows > view->part.rows) {
            PyErr_SetString(input_error, "the tail has fewer rows");
            return 0;
        }
        question->rows += view->part.rows;
    }
    return 1;
}

static const View *view_at(const Question *question, Py_ssize_t number) {
    return (const View *)PyTuple_GetItem(question->views, number);
}

static enum Status answer_one(const Question *question, const Query *query, uint32_t number,
                              Py_ssize_t from, Hits *hits) {
    enum Status status = DONE;
    for (Py_ssize_t each = from; each < question->count - 1 && !status; each++) {
        const View *view = view_at(question, each);
        status = view->kernel->search(&view->part, query, number, question->radius, question->limit,
                                      hits);
    }
    if (status || question->tail_rows == 0) return status;
    const View *view = view_at(question, question->count - 1);
    Part tail = view->part;
    tail.rows = question->tail_rows;
    return view->kernel->search(&tail, query, number, question->radius, SIZE_MAX, hits);
}

static int by_id(const void *left, const void *right) {
    const Hit *a = left, *b = right;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return (a->distance > b->distance) - (a->distance < b->distance);
}

static int by_distance(const void *left, const void *right) {
    const Hit *a = left, *b = right;
    if (a->distance != b->distance) return a->distance < b->distance ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

/* Many hits mostly come from one scan, in order already. */
static void sort_hits(Hit *hits, size_t count, int (*order)(const void *, const void *)) {
    for (size_t each = 1; each < count; each++)
        if (order(hits + each - 1, hits + each) > 0) {
            qsort(hits, count, sizeof *hits, order);
            return;
        }
}

/* Leaves at most `limit` hits, nearest first; how many, or SIZE_MAX without memory. */
static size_t settle(Hit *hits, size_t count, size_t limit) {
    const size_t left = count < limit ? count : limit;
    if (left < count || count > 64) sort_hits(hits, count, by_id);
    if (left <= 64) {
        sort_hits(hits, left, by_distance);
        return left;
    }
    /* By id they are; placing them by distance keeps that order within each. */
    size_t starts[258] = {0};
    Hit *placed = malloc(left * sizeof *placed);
    if (placed == NULL) return SIZE_MAX;
    for (size_t each = 0; each < left; each++) starts[hits[each].distance + 1]++;
    for (int distance = 0; distance < 257; distance++) starts[distance + 1] += starts[distance];
    for (size_t each = 0; each < left; each++) placed[starts[hits[each].distance]++] = hits[each];
    memcpy(hits, placed, left * sizeof *placed);
    free(placed);
    return left;
}

static PyObject *bytes_of(const Hit *hits, size_t count, char what) {
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * 8));
    if (bytes == NULL) return NULL;
    char *out = PyBytes_AsString(bytes);
    for (size_t each = 0; each < count; each++) {
        int64_t value = what == 'i'   ? hits[each].id
                        : what == 'd' ? (int64_t)hits[each].distance
                                      : (int64_t)hits[each].query;
        memcpy(out + 8 * each, &value, 8);
    }
    return bytes;
}

static int is_words(const Py_buffer *buffer) {
    const char *format = buffer->format ? buffer->format : "B";
    if (*format == '<' || *format == '=' || *format == '@') format++;
    return (*format == 'Q' || *format == 'L') && format[1] == 0 && buffer->itemsize == 8;
}

/* search(views, tail_rows, row, radius_bits, limit) → None or (ids, distances, is_capped) */
static PyObject *search(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    (void)self;
    Question question;
    if (nargs != 5) return PyErr_Format(PyExc_TypeError, "five arguments wanted");
    if (!asked(args, &question)) return NULL;
    Py_buffer row;
    if (PyObject_GetBuffer(args[2], &row, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
        PyErr_SetString(input_error, "row: uint64 words of shape (4,) wanted");
        return NULL;
    }
    if (row.ndim != 1 || row.len != 32 || !is_words(&row)) {
        PyBuffer_Release(&row);
        PyErr_SetString(input_error, "row: uint64 words of shape (4,) wanted");
        return NULL;
    }
    Query query;
    const View *view = view_at(&question, 0);
    view->kernel->permute(&view->order, row.buf, 1, &query);
    PyBuffer_Release(&row);
    Hits hits = {NULL, 0, 0};
    enum Status status;
    /* To hand the lock over and back costs more than a short query takes. */
    if (question.rows < 1 << 22 && question.radius <= TABLE_RADIUS) {
        status = answer_one(&question, &query, 0, 0, &hits);
    } else {
        Py_BEGIN_ALLOW_THREADS
        status = answer_one(&question, &query, 0, 0, &hits);
        Py_END_ALLOW_THREADS
    }
    PyObject *answer = NULL;
    if (status) {
        fail(status);
    } else if (hits.count == 0) {
        Py_INCREF(Py_None);
        answer = Py_None;
    } else {
        size_t count = settle(hits.items, hits.count, question.limit);
        if (count == SIZE_MAX) {
            free(hits.items);
            return fail(OUT_OF_MEMORY);
        }
        answer = Py_BuildValue("NNN", bytes_of(hits.items, count, 'i'),
                               bytes_of(hits.items, count, 'd'),
                               PyBool_FromLong(hits.count > question.limit));
    }
    free(hits.items);
    return answer;
}

/* All queries in blocks; on return hits are ordered by query, each query's as `settle` left them. */
static enum Status answer_many(const Question *question, const uint64_t *rows, size_t count,
                               Hits *hits, Hits *capped) {
    const size_t room = count < JOIN_BLOCK ? count : JOIN_BLOCK;
    Query *queries = allocate(room * sizeof *queries);
    size_t *starts = malloc((room + 2) * sizeof *starts);
    Hits block = {NULL, 0, 0};
    enum Status status = queries && starts ? DONE : OUT_OF_MEMORY;
    for (size_t first = 0; first < count && !status; first += JOIN_BLOCK) {
        const size_t size = count - first < JOIN_BLOCK ? count - first : JOIN_BLOCK;
        const View *any = view_at(question, 0);
        any->kernel->permute(&any->order, rows + 4 * first, size, queries);
        block.count = 0;
        for (Py_ssize_t each = 0; each < question->count && !status; each++) {
            const View *view = view_at(question, each);
            Part part = view->part;
            size_t limit = question->limit;
            if (each == question->count - 1) part.rows = question->tail_rows, limit = SIZE_MAX;
            if (part.rows == 0) continue;
            int given_up = 0, joined = part.offsets && question->radius <= TABLE_RADIUS &&
                                       size >= BY_QUERY;
            if (joined) {
                status = view->kernel->join(&part, queries, size, question->radius, &block, &given_up);
                joined = !given_up;
            }
            if (joined && part.clumps == 0) continue;
            const Kernel *kernel = view->kernel;
            for (size_t query = 0; query < size && !status; query++)
                status = (joined ? kernel->scan_clumps : kernel->search)(
                    &part, queries + query, (uint32_t)query, question->radius, limit, &block);
        }
        if (status) break;
        /* Group by query: count, place, settle. */
        memset(starts, 0, (size + 2) * sizeof *starts);
        for (size_t each = 0; each < block.count; each++) starts[block.items[each].query + 2]++;
        for (size_t query = 0; query < size; query++) starts[query + 2] += starts[query + 1];
        Hit *placed = allocate(block.count * sizeof *placed);
        if (placed == NULL) {
            status = OUT_OF_MEMORY;
            break;
        }
        for (size_t each = 0; each < block.count; each++)
            placed[starts[block.items[each].query + 1]++] = block.items[each];
        for (size_t query = 0; query < size && !status; query++) {
            size_t found = starts[query + 1] - starts[query];
            if (found == 0) continue;
            Hit *own = placed + starts[query];
            size_t left = settle(own, found, question->limit);
            if (left == SIZE_MAX) {
                status = OUT_OF_MEMORY;
                break;
            }
            uint32_t number = (uint32_t)(first + query);
            if (left < found && !push(capped, 0, number, 0)) status = OUT_OF_MEMORY;
            for (size_t each = 0; each < left && !status; each++)
                if (!push(hits, own[each].id, number, own[each].distance)) status = OUT_OF_MEMORY;
        }
        free(placed);
    }
    free(block.items), free(queries), free(starts);
    return status;
}

/* search_many(views, tail_rows, rows, radius_bits, limit) → (queries, ids, distances, capped) */
static PyObject *search_many(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    (void)self;
    Question question;
    if (nargs != 5) return PyErr_Format(PyExc_TypeError, "five arguments wanted");
    if (!asked(args, &question)) return NULL;
    Py_buffer rows;
    if (!take(args[2], &rows, -1, 0)) return NULL;
    Hits hits = {NULL, 0, 0}, capped = {NULL, 0, 0};
    enum Status status;
    Py_BEGIN_ALLOW_THREADS
    status = answer_many(&question, rows.buf, (size_t)rows.len / 32, &hits, &capped);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&rows);
    PyObject *answer =
        status ? fail(status)
               : Py_BuildValue("NNNN", bytes_of(hits.items, hits.count, 'q'),
                               bytes_of(hits.items, hits.count, 'i'),
                               bytes_of(hits.items, hits.count, 'd'),
                               bytes_of(capped.items, capped.count, 'q'));
    free(hits.items), free(capped.items);
    return answer;
}

/* ---- arrays ---- */

static void release(Py_buffer *buffers, int count) {
    for (int each = 0; each < count; each++)
        if (buffers[each].obj != NULL) PyBuffer_Release(&buffers[each]);
}

/* permute(kernel, order, rows, out) */
static PyObject *permute(PyObject *self, PyObject *args) {
    (void)self;
    const char *name;
    PyObject *given[3];
    Py_buffer buffers[3] = {{0}};
    Order order;
    if (!PyArg_ParseTuple(args, "sOOO:permute", &name, &given[0], &given[1], &given[2])) return NULL;
    const Kernel *kernel = kernel_named(name);
    if (kernel == NULL || !take(given[1], &buffers[0], -1, 0)) return NULL;
    if (!take(given[2], &buffers[1], buffers[0].len, PyBUF_WRITABLE) ||
        !take_order(given[0], &buffers[2], &order)) {
        release(buffers, 3);
        return NULL;
    }
    const uint64_t *from = buffers[0].buf;
    uint64_t *to = buffers[1].buf;
    const size_t count = (size_t)buffers[0].len / 32;
    Query block[256];
    Py_BEGIN_ALLOW_THREADS
    for (size_t first = 0; first < count; first += 256) {
        const size_t size = count - first < 256 ? count - first : 256;
        kernel->permute(&order, from + 4 * first, size, block);
        for (size_t each = 0; each < size; each++)
            memcpy(to + 4 * (first + each), block[each].words, 32);
    }
    Py_END_ALLOW_THREADS
    release(buffers, 3);
    Py_RETURN_NONE;
}

/* fill_tables(front, back, kept, offsets, signatures, positions) */
static PyObject *fill_tables(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given[6];
    Py_buffer buffers[6] = {{0}};
    if (!PyArg_ParseTuple(args, "OOOOOO:fill_tables", &given[0], &given[1], &given[2], &given[3],
                          &given[4], &given[5]))
        return NULL;
    if (!take(given[0], &buffers[0], -1, 0) || !take(given[1], &buffers[1], buffers[0].len, 0) ||
        !take(given[2], &buffers[2], -1, 0))
        goto failed;
    const size_t rows = (size_t)buffers[0].len / 16, count = (size_t)buffers[2].len / 4;
    size_t keys;
    if (!take(given[3], &buffers[3], -1, PyBUF_WRITABLE) || !(keys = keys_of(buffers[3].len)) ||
        !take(given[4], &buffers[4], (Py_ssize_t)(CHUNKS * count * 2), PyBUF_WRITABLE) ||
        !take(given[5], &buffers[5], (Py_ssize_t)(3 * (CHUNKS * count + 1)), PyBUF_WRITABLE))
        goto failed;
    const uint64_t *front = buffers[0].buf, *back = buffers[1].buf;
    const uint32_t *kept = buffers[2].buf;
    enum Status status = DONE;
    Py_BEGIN_ALLOW_THREADS
    uint64_t *records = allocate(count * sizeof *records);
    uint32_t *places = allocate(count * sizeof *places);
    uint16_t *chunks = malloc((count + 1) * sizeof *chunks);
    uint16_t *following = malloc((count + 1) * sizeof *following);
    if (!records || !places || !chunks || !following) status = OUT_OF_MEMORY;
    for (size_t each = 0; each < count && !status; each++)
        if (kept[each] >= rows || kept[each] >= 1u << 24) status = DAMAGED;
    for (size_t each = 0; each < count && !status; each++)
        following[each] = chunk_of(front, back, kept[each], 0);
    for (unsigned table = 0; table < CHUNKS && !status; table++) {
        uint16_t *spent = chunks;
        chunks = following, following = spent;
        for (size_t each = 0; each < count; each++)
            following[each] = chunk_of(front, back, kept[each], (table + 1) % CHUNKS);
        sort_by_key(chunks, following, kept, count, keys, records,
                    (uint32_t *)buffers[3].buf + table * (keys + 1),
                    (uint16_t *)buffers[4].buf + table * count, places);
        uint8_t *positions = (uint8_t *)buffers[5].buf + 3 * table * count;
        for (size_t each = 0; each < count; each++)
            for (int byte = 0; byte < 3; byte++)
                positions[3 * each + byte] = (uint8_t)(places[each] >> (8 * byte));
    }
    free(records), free(places), free(chunks), free(following);
    Py_END_ALLOW_THREADS
    release(buffers, 6);
    if (status) return fail(status);
    Py_RETURN_NONE;
failed:
    release(buffers, 6);
    return NULL;
}

/* distances(kernel, front, back, row, out) */
static PyObject *distances(PyObject *self, PyObject *args) {
    (void)self;
    const char *name;
    PyObject *given[4];
    Py_buffer buffers[4] = {{0}};
    if (!PyArg_ParseTuple(args, "sOOOO:distances", &name, &given[0], &given[1], &given[2], &given[3]))
        return NULL;
    const Kernel *kernel = kernel_named(name);
    if (kernel == NULL) return NULL;
    int taken = take(given[0], &buffers[0], -1, 0) &&
                take(given[1], &buffers[1], buffers[0].len, 0) && take(given[2], &buffers[2], 32, 0) &&
                take(given[3], &buffers[3], buffers[0].len / 8, PyBUF_WRITABLE);
    if (taken) {
        Py_BEGIN_ALLOW_THREADS
        kernel->distances(buffers[0].buf, buffers[1].buf, (size_t)buffers[0].len / 16, buffers[2].buf,
                          buffers[3].buf);
        Py_END_ALLOW_THREADS
    }
    release(buffers, 4);
    if (!taken) return NULL;
    Py_RETURN_NONE;
}

/* scan(kernel, front, back or None, needles, radius_bits) → (rows, needles, distances) */
static PyObject *scan(PyObject *self, PyObject *args) {
    (void)self;
    const char *name;
    PyObject *given[3];
    unsigned radius;
    Py_buffer buffers[3] = {{0}};
    if (!PyArg_ParseTuple(args, "sOOOI:scan", &name, &given[0], &given[1], &given[2], &radius))
        return NULL;
    const Kernel *kernel = kernel_named(name);
    if (kernel == NULL) return NULL;
    if (!take(given[0], &buffers[0], -1, 0) ||
        (given[1] != Py_None && !take(given[1], &buffers[1], buffers[0].len, 0)) ||
        !take(given[2], &buffers[2], -1, 0)) {
        release(buffers, 3);
        return NULL;
    }
    Hits hits = {NULL, 0, 0};
    enum Status status;
    Py_BEGIN_ALLOW_THREADS
    status = kernel->scan(buffers[0].buf, buffers[1].buf, (size_t)buffers[0].len / 16, buffers[2].buf,
                          (size_t)buffers[2].len / 32, radius, &hits);
    Py_END_ALLOW_THREADS
    release(buffers, 3);
    PyObject *answer = status ? fail(status)
                              : Py_BuildValue("NNN", bytes_of(hits.items, hits.count, 'i'),
                                              bytes_of(hits.items, hits.count, 'q'),
                                              bytes_of(hits.items, hits.count, 'd'));
    free(hits.items);
    return answer;
}

/* ---- the module ---- */

static PyMethodDef methods[] = {
    {"search", (PyCFunction)(void (*)(void))search, METH_FASTCALL, NULL},
    {"search_many", (PyCFunction)(void (*)(void))search_many, METH_FASTCALL, NULL},
    {"permute", permute, METH_VARARGS, NULL},
    {"fill_tables", fill_tables, METH_VARARGS, NULL},
    {"distances", distances, METH_VARARGS, NULL},
    {"scan", scan, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "_kernel", "The compiled matching kernel.", -1, methods,
    NULL, NULL, NULL, NULL,
};

static PyType_Slot view_slots[] = {
    {Py_tp_new, (void *)view_new},
    {Py_tp_dealloc, (void *)view_dealloc},
    {Py_tp_doc, "View(kernel, order, ids, front, back, dead, tables…, clumps…): a part, its arrays held."},
    {0, NULL},
};

static PyType_Spec view_spec = {
    "unspread.match._kernel.View", sizeof(View), 0, Py_TPFLAGS_DEFAULT, view_slots,
};

PyMODINIT_FUNC PyInit__kernel(void) {
    find_kernels();
    PyObject *errors = PyImport_ImportModule("unspread.errors");
    if (errors == NULL) return NULL;
    input_error = PyObject_GetAttrString(errors, "InputError");
    Py_DECREF(errors);
    if (input_error == NULL) return NULL;
    PyObject *module = PyModule_Create(&module_definition);
    if (module == NULL) return NULL;
    view_type = (PyTypeObject *)PyType_FromSpec(&view_spec);
    PyObject *names = PyTuple_New(kernel_count);
    if (view_type == NULL || names == NULL ||
        PyModule_AddObjectRef(module, "View", (PyObject *)view_type) < 0)
        return NULL;
    for (int each = 0; each < kernel_count; each++)
        PyTuple_SetItem(names, each, PyUnicode_FromString(kernels[each]->name));
    if (PyModule_AddObject(module, "KERNELS", names) < 0) return NULL;
    return module;
}

/* The compiled core of `unspread.fingerprint`: sums of weighed pixels, and PNG's filters.

   Python's stable ABI and the buffer protocol only. Sums are whole numbers, so that they are those
   of numpy bit for bit; what is here is faster, never different. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GLIBC__) && defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
/* Compiled twice, chosen when loaded; whole numbers are the same in both. */
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* Columns whose sums stay in the nearest cache, and whose bytes fill a page of memory: processors
   fetch ahead within one. */
#define BLOCK 4096

FOR_EACH_PROCESSOR
static void add_weighed(uint32_t *restrict sums, const uint8_t *restrict line, uint16_t weight,
                        Py_ssize_t count) {
    for (Py_ssize_t each = 0; each < count; each++)
        sums[each] += (uint16_t)(weight * line[each]);
}

/* Four sums at once, as one would wait for itself; in which order does not matter to whole ones. */
static double weighed(const double *samples, const double *weights, Py_ssize_t count) {
    double four[4] = {0};
    Py_ssize_t each = 0;
    for (; each + 4 <= count; each += 4)
        for (int lane = 0; lane < 4; lane++) four[lane] += samples[each + lane] * weights[each + lane];
    for (; each < count; each++) four[0] += samples[each] * weights[each];
    return (four[0] + four[1]) + (four[2] + four[3]);
}

static PyObject *release(Py_buffer *buffers, int count) {
    for (int each = 0; each < count; each++)
        if (buffers[each].obj) PyBuffer_Release(&buffers[each]);
    return NULL;
}

static PyObject *refuse(Py_buffer *buffers, int count) {
    PyErr_SetString(PyExc_ValueError, "the arrays do not fit together");
    return release(buffers, count);
}

/* weigh_lines(lines, starts, weights, sums)

   Row i of `sums` (m, n) uint32 becomes the sum of the lines of `lines` (height, n) uint8 from
   starts[i] (int32) on, as many as there are `weights` (uint16, at most 257), times these; where
   starts[i] is negative it is left as it is. Lines may lie apart, the bytes of one may not. */
static PyObject *weigh_lines(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given[4];
    Py_buffer buffers[4] = {{0}};
    if (!PyArg_ParseTuple(args, "OOOO:weigh_lines", &given[0], &given[1], &given[2], &given[3]))
        return NULL;
    for (int each = 0; each < 4; each++) {
        int flags = each == 0 ? PyBUF_STRIDED_RO : each == 3 ? PyBUF_WRITABLE : PyBUF_SIMPLE;
        if (PyObject_GetBuffer(given[each], &buffers[each], flags) < 0) return release(buffers, 4);
    }
    const Py_buffer *lines = &buffers[0];
    const int32_t *starts = buffers[1].buf;
    const uint16_t *weights = buffers[2].buf;
    uint32_t *sums = buffers[3].buf;
    Py_ssize_t rows = buffers[1].len / (Py_ssize_t)sizeof *starts;
    Py_ssize_t window = buffers[2].len / (Py_ssize_t)sizeof *weights;
    int fits = lines->ndim == 2 && lines->itemsize == 1 &&
               (lines->shape[1] == 1 || lines->strides[1] == 1) &&
               rows * lines->shape[1] * (Py_ssize_t)sizeof *sums == buffers[3].len;
    for (Py_ssize_t row = 0; fits && row < rows; row++)
        fits = starts[row] < 0 || starts[row] <= lines->shape[0] - window;
    if (!fits) return refuse(buffers, 4);
    Py_ssize_t width = lines->shape[1], apart = lines->strides[0];
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t row = 0; row < rows; row++) {
        if (starts[row] < 0) continue;
        for (Py_ssize_t at = 0; at < width; at += BLOCK) {
            Py_ssize_t count = width - at < BLOCK ? width - at : BLOCK;
            uint32_t *target = sums + row * width + at;
            const uint8_t *line = (const uint8_t *)lines->buf + starts[row] * apart + at;
            memset(target, 0, (size_t)count * sizeof *target);
            for (Py_ssize_t each = 0; each < window; each++)
                add_weighed(target, line + each * apart, weights[each], count);
        }
    }
    Py_END_ALLOW_THREADS
    release(buffers, 4);
    Py_RETURN_NONE;
}

/* weigh_columns(samples, starts, weights, sums)

   The same along the rows of `samples` (m, n) float64, with `weights` and `sums` (m, k) of
   float64: column j of the sums is made of the columns from starts[j] on. */
static PyObject *weigh_columns(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given[4];
    Py_buffer buffers[4] = {{0}};
    if (!PyArg_ParseTuple(args, "OOOO:weigh_columns", &given[0], &given[1], &given[2], &given[3]))
        return NULL;
    for (int each = 0; each < 4; each++) {
        int flags = each == 0 ? PyBUF_ND : each == 3 ? PyBUF_WRITABLE : PyBUF_SIMPLE;
        if (PyObject_GetBuffer(given[each], &buffers[each], flags) < 0) return release(buffers, 4);
    }
    const double *samples = buffers[0].buf, *weights = buffers[2].buf;
    const int32_t *starts = buffers[1].buf;
    double *sums = buffers[3].buf;
    Py_ssize_t columns = buffers[1].len / (Py_ssize_t)sizeof *starts;
    Py_ssize_t window = buffers[2].len / (Py_ssize_t)sizeof *weights;
    int fits = buffers[0].ndim == 2 && buffers[0].itemsize == sizeof *samples &&
               buffers[0].shape[0] * columns * (Py_ssize_t)sizeof *sums == buffers[3].len;
    for (Py_ssize_t column = 0; fits && column < columns; column++)
        fits = starts[column] < 0 || starts[column] <= buffers[0].shape[1] - window;
    if (!fits) return refuse(buffers, 4);
    Py_ssize_t rows = buffers[0].shape[0], width = buffers[0].shape[1];
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t row = 0; row < rows; row++, samples += width, sums += columns)
        for (Py_ssize_t column = 0; column < columns; column++)
            if (starts[column] >= 0) sums[column] = weighed(samples + starts[column], weights, window);
    Py_END_ALLOW_THREADS
    release(buffers, 4);
    Py_RETURN_NONE;
}

/* ---- PNG ---- */

/* What PNG calls Paeth: of left, above and corner the one nearest to left + above - corner
   (PNG, third edition, 9.4). */
#if defined(__GNUC__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* All bytes of a pixel at once; each pixel waits for the one before it. Eight are read, so that
   the last ones of a line are left. */
typedef int16_t Wide __attribute__((vector_size(16)));
typedef uint8_t Narrow __attribute__((vector_size(8)));

static inline Wide wide(const uint8_t *pixel) {
    Narrow bytes;
    memcpy(&bytes, pixel, sizeof bytes);
    return __builtin_convertvector(bytes, Wide);
}

static inline Wide absolute(Wide value) {
    Wide sign = value >> 15;
    return (value ^ sign) - sign;
}

static inline Py_ssize_t add_paeth_of(uint8_t *line, const uint8_t *above, Py_ssize_t bytes,
                                      const int pixel) {
    Wide left = {0}, corner = {0};
    Py_ssize_t at = 0;
    for (; at + 8 <= bytes; at += pixel) {
        Wide up = wide(above + at);
        Wide by_left = absolute(up - corner), by_up = absolute(left - corner);
        Wide by_corner = absolute(left + up - corner - corner);
        Wide take_left = (by_left <= by_up) & (by_left <= by_corner), take_up = by_up <= by_corner;
        Wide other = (take_up & up) | (~take_up & corner);
        left = (wide(line + at) + ((take_left & left) | (~take_left & other))) & 255;
        corner = up;
        Narrow sum = __builtin_convertvector(left, Narrow);
        memcpy(line + at, &sum, (size_t)pixel);
    }
    return at;
}

static Py_ssize_t add_paeth_wide(uint8_t *line, const uint8_t *above, Py_ssize_t bytes,
                                 Py_ssize_t pixel) {
    return pixel == 3   ? add_paeth_of(line, above, bytes, 3)
           : pixel == 4 ? add_paeth_of(line, above, bytes, 4)
                        : 0;
}
#else
static Py_ssize_t add_paeth_wide(uint8_t *line, const uint8_t *above, Py_ssize_t bytes,
                                 Py_ssize_t pixel) {
    (void)line, (void)above, (void)bytes, (void)pixel;
    return 0;
}
#endif

static void add_paeth(uint8_t *line, const uint8_t *above, Py_ssize_t bytes, Py_ssize_t pixel) {
    Py_ssize_t at = add_paeth_wide(line, above, bytes, pixel);
    for (; at < bytes; at++) {
        int left = at < pixel ? 0 : line[at - pixel], corner = at < pixel ? 0 : above[at - pixel];
        int by_left = abs(above[at] - corner), by_above = abs(left - corner);
        int by_corner = abs(left + above[at] - 2 * corner);
        int nearest = by_left <= by_above && by_left <= by_corner ? left
                      : by_above <= by_corner                     ? above[at]
                                                                  : corner;
        line[at] = (uint8_t)(line[at] + nearest);
    }
}

static void add_neighbours(int filter, uint8_t *line, const uint8_t *above, Py_ssize_t bytes,
                           Py_ssize_t pixel) {
    if (filter == 1)
        for (Py_ssize_t at = pixel; at < bytes; at++) line[at] = (uint8_t)(line[at] + line[at - pixel]);
    if (filter == 2)
        for (Py_ssize_t at = 0; at < bytes; at++) line[at] = (uint8_t)(line[at] + above[at]);
    if (filter == 3)
        for (Py_ssize_t at = 0; at < bytes; at++)
            line[at] = (uint8_t)(line[at] + ((at < pixel ? 0 : line[at - pixel]) + above[at]) / 2);
    if (filter == 4) add_paeth(line, above, bytes, pixel);
}

/* unfilter(rows, pixel)

   Undoes PNG's filters in place (PNG, third edition, 9.2): `rows` (height, 1 + n) uint8, each
   starting with the number of its filter; `pixel` bytes each, at most n. */
static PyObject *unfilter(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given;
    Py_ssize_t pixel;
    Py_buffer rows = {0};
    if (!PyArg_ParseTuple(args, "On:unfilter", &given, &pixel)) return NULL;
    if (PyObject_GetBuffer(given, &rows, PyBUF_ND | PyBUF_WRITABLE) < 0) return NULL;
    if (rows.ndim != 2 || rows.itemsize != 1 || pixel < 1 || pixel >= rows.shape[1])
        return refuse(&rows, 1);
    Py_ssize_t height = rows.shape[0], bytes = rows.shape[1] - 1;
    uint8_t *line = rows.buf, *above = PyMem_Calloc((size_t)bytes, 1), *zeros = above;
    int known = 1;
    if (above == NULL) {
        release(&rows, 1);
        return PyErr_NoMemory();
    }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t row = 0; known && row < height; row++, above = line + 1, line += bytes + 1) {
        known = line[0] <= 4;
        if (known) add_neighbours(line[0], line + 1, above, bytes, pixel);
    }
    Py_END_ALLOW_THREADS
    PyMem_Free(zeros);
    if (!known) return refuse(&rows, 1);
    release(&rows, 1);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"unfilter", unfilter, METH_VARARGS, NULL},
    {"weigh_lines", weigh_lines, METH_VARARGS, NULL},
    {"weigh_columns", weigh_columns, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernel", "The compiled core of fingerprints.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModule_Create(&definition); }

/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of a program that runs all day. */
#include "base/memory.h"

#include <event2/event.h>
#include <malloc.h>
#include <sys/mman.h>

#include "base/util.h"

/* --- small things of libevent ------------------------------------------------------------------------------- */

enum { CELL = 32, CELLS = 1 << 17 /* 4 MiB of addresses; pages come when touched */ };

static uint8_t *cells; /* NULL: none could be had, all is the heap's */
static size_t ncells;  /* that were ever used */
static void *free_cells;

static bool is_cell(const void *p)
{
	return cells && (const uint8_t *)p >= cells && (const uint8_t *)p < cells + CELLS * CELL;
}

static void *event_alloc(size_t size)
{
	void *p = free_cells;

	if (!cells || size > CELL || (!p && ncells == CELLS))
		return malloc(size);
	if (p)
		memcpy(&free_cells, p, sizeof(free_cells));
	else
		p = cells + CELL * ncells++;
	return p;
}

static void event_release(void *p)
{
	if (!is_cell(p)) {
		free(p);
		return;
	}
	memcpy(p, &free_cells, sizeof(free_cells));
	free_cells = p;
}

static void *event_resize(void *p, size_t size)
{
	void *to;

	if (!is_cell(p))
		return realloc(p, size);
	if (size <= CELL)
		return p;
	to = malloc(size);
	if (!to)
		return NULL;
	memcpy(to, p, CELL);
	event_release(p);
	return to;
}

/*
 * Buffers of 64 KiB come and go with each super-packet. By default glibc gives the end of the heap back whenever 128 KiB of it
 * are free, to have its pages made anew a moment later: a tenth of what a large body cost the agent. What stays free is
 * memory_tidy()'s to give back.
 */
static void keep_heap(void)
{
	enum { KEPT = 4 << 20, MAPPED = 1 << 20 };

	mallopt(M_TRIM_THRESHOLD, KEPT);
	mallopt(M_MMAP_THRESHOLD, MAPPED); /* set one, and glibc finds neither by itself */
}

void memory_setup(void)
{
	void *p = mmap(NULL, CELLS * CELL, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	keep_heap();
	if (p == MAP_FAILED)
		return;
	cells = p;
	event_set_mem_functions(event_alloc, event_resize, event_release);
}

/* --- the heap ------------------------------------------------------------------------------------------------ */

void memory_tidy(void)
{
	enum { FREE_MUCH = 1 << 20 };

	/* Pages that were given back count as free still, and a burst between two calls may have touched them again; so
	 * what was done before is no reason not to do it now. Where nothing is left to give it costs a millisecond. */
	if (mallinfo2().fordblks >= FREE_MUCH)
		malloc_trim(0);
}

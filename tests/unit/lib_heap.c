/* The heap against a plain array that is searched through. */
#include <check.h>

#include "lib/heap.h"
#include "lib/rand.h"

enum { NODES = 200, STEPS = 20000 };

static struct heap_node nodes[NODES];

static int64_t smallest(size_t *in)
{
	int64_t least = INT64_MAX;

	*in = 0;
	for (size_t i = 0; i < NODES; i++) {
		if (!nodes[i].pos)
			continue;
		++*in;
		if (nodes[i].key < least)
			least = nodes[i].key;
	}
	return least;
}

START_TEST(the_top_is_the_smallest_after_any_sequence_of_changes)
{
	struct heap h = { 0 };
	uint64_t seed = rand_u64(), x = seed;
	size_t in;

	for (int step = 0; step < STEPS; step++) {
		struct heap_node *n;
		int64_t least;

		x = x * 6364136223846793005u + 1442695040888963407u;
		n = &nodes[(x >> 33) % NODES];
		if ((x >> 60) < 6)
			heap_remove(&h, n);
		else                            /* few different keys: equal ones are common */
			ck_assert(heap_put(&h, n, (int64_t)(x >> 20) % 50));
		least = smallest(&in);
		ck_assert_msg(h.n == in, "seed %llu step %d", (unsigned long long)seed, step);
		ck_assert_msg(in ? heap_top(&h)->key == least : !heap_top(&h), "seed %llu step %d", (unsigned long long)seed, step);
	}
	for (int64_t last = INT64_MIN; heap_top(&h); ) {
		struct heap_node *n = heap_top(&h);

		ck_assert_int_ge(n->key, last);
		last = n->key;
		heap_remove(&h, n);
		ck_assert_uint_eq(n->pos, 0);
	}
	smallest(&in);
	ck_assert_uint_eq(in, 0);
	heap_free(&h);
}
END_TEST

START_TEST(removing_what_is_in_no_heap_does_nothing)
{
	struct heap h = { 0 };
	struct heap_node a = { 0 }, b = { 0 };

	heap_remove(&h, &a);
	ck_assert_ptr_null(heap_top(&h));
	ck_assert(heap_put(&h, &a, INT64_MIN) && heap_put(&h, &b, INT64_MAX));
	heap_remove(&h, &a);
	heap_remove(&h, &a);
	ck_assert_ptr_eq(heap_top(&h), &b);
	heap_free(&h);
	ck_assert_ptr_null(heap_top(&h));
}
END_TEST

START_TEST(what_many_took_is_given_back_behind_them)
{
	static struct heap_node many[100000];
	struct heap h = { 0 };

	for (int i = 0; i < 100000; i++)
		ck_assert(heap_put(&h, &many[i], i));
	for (int i = 0; i < 99990; i++) {
		ck_assert_ptr_eq(heap_top(&h), &many[i]);
		heap_remove(&h, &many[i]);
		ck_assert_uint_ge(h.room, h.n);
	}
	ck_assert_uint_le(h.room, 1024);
	for (int i = 0; i < 100000; i++)
		ck_assert(heap_put(&h, &many[i], i));
	ck_assert_ptr_eq(heap_top(&h), &many[0]);
	heap_free(&h);
}
END_TEST

Suite *lib_heap_suite(void);
Suite *lib_heap_suite(void)
{
	Suite *s = suite_create("lib_heap");
	TCase *t = tcase_create("heap");

	tcase_add_test(t, the_top_is_the_smallest_after_any_sequence_of_changes);
	tcase_add_test(t, removing_what_is_in_no_heap_does_nothing);
	tcase_add_test(t, what_many_took_is_given_back_behind_them);
	suite_add_tcase(s, t);
	return s;
}

/* The hash table, and the hash under it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "lib/map.h"

/* The reference's own vectors: key 00 01 .. 0f, input 00 01 .. of so many octets. */
static const struct { size_t n; uint64_t hash; } vectors[] = {
	{ 0, 0x726fdb47dd0e0e31u }, { 1, 0x74f839c593dc67fdu }, { 7, 0xab0200f58b01d137u }, { 8, 0x93f5f5799a932462u },
	{ 15, 0xa129ca6149be45e5u }, { 16, 0x3f2acc7f57c29bdbu },
};

START_TEST(siphash_is_that_of_the_reference)
{
	static const uint64_t key[2] = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };
	unsigned char in[16];

	for (unsigned char i = 0; i < sizeof in; i++)
		in[i] = i;
	ck_assert_uint_eq(siphash(key, in, vectors[_i].n), vectors[_i].hash);
}
END_TEST

enum { MANY = 5000 };
struct item {
	char key[16];
	struct map_node node;
	unsigned met;
};
static struct item *items;
static struct map map;

static struct str key_of(const struct item *x) { return str_of(x->key); }

static void fill(void)
{
	items = calloc(MANY, sizeof *items);
	ck_assert_ptr_nonnull(items);
	for (int i = 0; i < MANY; i++) {
		snprintf(items[i].key, sizeof items[i].key, "key %d", i);
		ck_assert(map_put(&map, &items[i].node, key_of(&items[i])));
	}
}

static void empty(void)
{
	map_free(&map);
	free(items);
}

START_TEST(many_keys_are_found_and_others_are_not)
{
	ck_assert_uint_eq(map.n, MANY);
	for (int i = 0; i < MANY; i++)
		ck_assert_ptr_eq(map_get(&map, key_of(&items[i])), &items[i].node);
	ck_assert_ptr_null(map_get(&map, STR("key")));
	ck_assert_ptr_null(map_get(&map, STR("key 1\0")));
	ck_assert_ptr_null(map_get(&map, STR("")));
	for (int i = 0; i < MANY; i += 2)
		map_remove(&map, &items[i].node);
	for (int i = 0; i < MANY; i++)
		ck_assert_ptr_eq(map_get(&map, key_of(&items[i])), i % 2 ? &items[i].node : NULL);
}
END_TEST

START_TEST(a_walk_meets_every_node_once)
{
	for (struct map_node *x = map_next(&map, NULL); x; x = map_next(&map, x))
		owner_of(x, struct item, node)->met++;
	for (int i = 0; i < MANY; i++)
		ck_assert_uint_eq(items[i].met, 1);
}
END_TEST

START_TEST(nodes_may_be_removed_while_walking)
{
	struct map_node *next, again;
	unsigned met = 0;

	for (struct map_node *x = map_next(&map, NULL); x; x = next) {
		next = map_next(&map, x);
		met++;
		map_remove(&map, x);
		memset(owner_of(x, struct item, node), 0xff, sizeof(struct item));      /* freed, say */
	}
	ck_assert_uint_eq(met, MANY);
	ck_assert_uint_eq(map.n, 0);
	ck_assert_ptr_null(map_next(&map, NULL));
	ck_assert_uint_eq(map.size, 0);         /* what many took is given back behind them */
	ck_assert(map_put(&map, &again, STR("again")));
	ck_assert_ptr_eq(map_get(&map, STR("again")), &again);
}
END_TEST

START_TEST(a_map_of_zeros_is_empty)
{
	struct map none = { 0 };
	struct map_node x;

	ck_assert_ptr_null(map_get(&none, STR("a")));
	ck_assert_ptr_null(map_next(&none, NULL));
	ck_assert(map_put(&none, &x, (struct str){ NULL, 0 }));
	ck_assert_ptr_eq(map_get(&none, STR("")), &x);
	map_remove(&none, &x);
	ck_assert_ptr_null(map_get(&none, STR("")));
	map_free(&none);
	map_free(&none);
}
END_TEST

Suite *lib_map_suite(void);
Suite *lib_map_suite(void)
{
	Suite *s = suite_create("lib_map");
	TCase *t = tcase_create("map"), *full = tcase_create("full");

	tcase_add_loop_test(t, siphash_is_that_of_the_reference, 0, (int)(sizeof vectors / sizeof *vectors));
	tcase_add_test(t, a_map_of_zeros_is_empty);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(full, fill, empty);
	tcase_add_test(full, many_keys_are_found_and_others_are_not);
	tcase_add_test(full, a_walk_meets_every_node_once);
	tcase_add_test(full, nodes_may_be_removed_while_walking);
	suite_add_tcase(s, full);
	return s;
}

/* SPDX-License-Identifier: MIT */
/*
 * Keys and pointers by QMP. x-input is husk's own: {"events": [["key", 30, 1], ["key", "ctrl", 0], ["point", x, y], ...]}, one
 * array per event of display/input.h. send-key and input-send-event are as in QEMU, for programs that know these. All of
 * it becomes VMM_INPUT, in order; husk-vmm treats it as a viewer's.
 */
#include <errno.h>
#include <linux/input-event-codes.h>
#include <string.h>

#include "base/util.h"
#include "cmd/super-int.h"
#include "display/input.h"
#include "display/keys.h"

enum { EVENTS_MAX = 256, HOLD_MS = 100, HOLD_MS_MAX = 60000 };

struct events {
	struct input_event ev[EVENTS_MAX];
	unsigned n;
};

static int add(struct events *l, uint16_t type, uint16_t code, int32_t a, int32_t b, struct err *e)
{
	if (l->n == EVENTS_MAX)
		return err_set(e, E2BIG, "%d events at a time are the most", EVENTS_MAX);
	l->ev[l->n++] = (struct input_event){.type = type, .code = code, .a = a, .b = b};
	return 0;
}

static int deliver(struct super *s, const struct events *l, struct err *e)
{
	int rc = 0;

	/* as many at a time as a viewer may send */
	for (unsigned i = 0; i < l->n && !rc; i += INPUT_EVENTS)
		rc = child_send_data(&s->vmm.child, VMM_INPUT, l->ev + i, min_u64(INPUT_EVENTS, l->n - i) * sizeof l->ev[0]);
	return rc ? err_set(e, -rc, "husk-vmm cannot be reached: %s", strerror(-rc)) : 0;
}

static bool has_screen(const struct super *s, struct err *e)
{
	if (s->screen.cfg)
		return true;
	err_set(e, ENODEV, "this machine has no keyboard and no pointer; 'husk run --display vnc' makes them");
	return false;
}

void super_viewers_gone(struct super *s)
{
	struct events l = {.n = 0};
	struct err e;

	add(&l, INPUT_RELEASE, 0, 0, 0, &e);
	add(&l, INPUT_VIEWERS, 0, 0, 0, &e);
	deliver(s, &l, &e);
}

/* --- words ------------------------------------------------------------------------------------- */

static int key_of(const json_t *j, uint16_t *key, struct err *e)
{
	uint16_t keys[2];
	const char *name = json_string_value(j);
	json_int_t n = json_integer_value(j);

	if (name) {
		int rc = keys_parse(name, keys, ARRAY_LEN(keys), e);

		if (rc < 0)
			return rc;
		*key = keys[0];
		return rc == 1 ? 0 : err_set(e, EINVAL, "'%.40s' is more than one key", name);
	}
	if (!json_is_integer(j) || n <= 0 || n > KEY_MAX || !key_name((uint16_t)n))
		return err_set(e, EINVAL, "a key is a name such as ctrl or one of Linux' numbers");
	*key = (uint16_t)n;
	return 0;
}

static int button_of(const json_t *j, uint16_t *button, struct err *e)
{
	static const struct {
		const char *name;
		uint16_t code;
	} buttons[] = {{"left", BTN_LEFT}, {"right", BTN_RIGHT}, {"middle", BTN_MIDDLE}, {"side", BTN_SIDE}, {"extra", BTN_EXTRA}};
	const char *name = json_string_value(j);

	for (size_t i = 0; i < ARRAY_LEN(buttons); i++) {
		if (name ? strcmp(name, buttons[i].name) : json_integer_value(j) != buttons[i].code)
			continue;
		*button = buttons[i].code;
		return 0;
	}
	return err_set(e, EINVAL, "a button is left, right, middle, side or extra");
}

static int number_of(const json_t *j, int64_t lo, int64_t hi, int32_t *v, struct err *e)
{
	json_int_t n = json_integer_value(j);

	if (!json_is_integer(j) || n < lo || n > hi)
		return err_set(e, EINVAL, "a number from %lld to %lld is possible here", (long long)lo, (long long)hi);
	*v = (int32_t)n;
	return 0;
}

/* --- x-input ----------------------------------------------------------------------------------- */

static int raw_event(struct super *s, struct events *l, const json_t *j, struct err *e)
{
	static const struct {
		const char *word;
		enum input_type type;
		int32_t lo, hi; /* of a and b */
	} rows[] = {{"key", INPUT_KEY, 0, 2}, {"button", INPUT_BUTTON, 0, 1}, {"move", INPUT_MOVE, -32768, 32767},
		{"point", INPUT_POINT, 0, INPUT_POINT_MAX}, {"wheel", INPUT_WHEEL, -127, 127}, {"release", INPUT_RELEASE, 0, 0}};
	const char *word = json_string_value(json_array_get(j, 0));
	const json_t *first = json_array_get(j, 1), *second = json_array_get(j, 2);
	uint16_t code = 0;
	int32_t a = 0, b = 0;

	(void)s;
	for (size_t i = 0; word && i < ARRAY_LEN(rows); i++) {
		int rc = 0;

		if (strcmp(word, rows[i].word))
			continue;
		if (rows[i].type == INPUT_KEY || rows[i].type == INPUT_BUTTON) {
			rc = (rows[i].type == INPUT_KEY ? key_of : button_of)(first, &code, e);
			rc = rc ? rc : number_of(second, rows[i].lo, rows[i].hi, &a, e);
		} else if (rows[i].type != INPUT_RELEASE) {
			rc = number_of(first, rows[i].lo, rows[i].hi, &a, e);
			rc = rc ? rc : number_of(second, rows[i].lo, rows[i].hi, &b, e);
		}
		return rc ? err_prefix(e, "%s", word) : add(l, rows[i].type, code, a, b, e);
	}
	return err_set(e, EINVAL, "an event is [\"key\", NAME, 1], button, move, point, wheel or release");
}

/* Each element of "events" by one(), then all of them to the machine. */
static json_t *each_event(struct super *s, json_t *args,
	int (*one)(struct super *s, struct events *l, const json_t *event, struct err *e), struct err *e)
{
	const json_t *list = json_object_get(args, "events");
	struct events l = {.n = 0};

	if (!has_screen(s, e))
		return NULL;
	if (!json_is_array(list)) {
		err_set(e, EINVAL, "\"events\" must be an array");
		return NULL;
	}
	for (size_t i = 0; i < json_array_size(list); i++)
		if (one(s, &l, json_array_get(list, i), e))
			return NULL;
	return deliver(s, &l, e) ? NULL : json_object();
}

json_t *super_x_input(void *arg, json_t *args, struct err *e)
{
	return each_event(arg, args, raw_event, e);
}

/* --- send-key ---------------------------------------------------------------------------------- */

/* {"type": "qcode", "data": "a"} or {"type": "number", "data": 30}, which is a scan code of set 1 */
static int qemu_key(const json_t *j, uint16_t *key, struct err *e)
{
	const char *type = json_string_value(json_object_get(j, "type"));
	const json_t *data = json_object_get(j, "data");

	if (type && !strcmp(type, "qcode") && json_is_string(data))
		return key_of(data, key, e);
	if (!type || strcmp(type, "number") || !json_is_integer(data))
		return err_set(e, EINVAL, "a key is {\"type\": \"qcode\", \"data\": NAME} or {\"type\": \"number\", \"data\": CODE}");
	*key = key_from_xt((uint32_t)json_integer_value(data));
	return *key ? 0 : err_set(e, EINVAL, "no key has that number");
}

/* All that send-key holds goes up, the last first. */
static int keys_up(struct super *s, struct err *e)
{
	struct events l = {.n = 0};

	timer_set(s->loop, &s->keys.up_timer, 0);
	while (s->keys.n)
		add(&l, INPUT_KEY, s->keys.down[--s->keys.n], 0, 0, e);
	return deliver(s, &l, e);
}

void super_keys_fire(struct timer *t)
{
	struct err e;

	keys_up(CONTAINER_OF(t, struct super, keys.up_timer), &e);
}

json_t *super_send_key(void *arg, json_t *args, struct err *e)
{
	const json_t *list = json_object_get(args, "keys"), *hold = json_object_get(args, "hold-time");
	struct super *s = arg;
	size_t n = json_array_size(list);
	struct events l = {.n = 0};
	uint16_t key[SUPER_KEYS];
	int32_t ms = HOLD_MS;

	if (!has_screen(s, e) || (hold && number_of(hold, 0, HOLD_MS_MAX, &ms, e)))
		return NULL;
	if (!n || n > SUPER_KEYS) {
		err_set(e, EINVAL, "\"keys\" must be an array of 1 to %d", SUPER_KEYS);
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		if (qemu_key(json_array_get(list, i), &key[i], e) || add(&l, INPUT_KEY, key[i], 1, 0, e))
			return NULL;
	if (keys_up(s, e) || deliver(s, &l, e))
		return NULL;
	memcpy(s->keys.down, key, n * sizeof key[0]);
	s->keys.n = (unsigned)n;
	timer_set(s->loop, &s->keys.up_timer, now_ns() + (uint64_t)ms * 1000000 + 1);
	return json_object();
}

/* --- input-send-event -------------------------------------------------------------------------- */

static int qemu_button(struct events *l, const json_t *data, struct err *e)
{
	static const struct {
		const char *name;
		int32_t right, up;
	} wheels[] = {{"wheel-up", 0, 1}, {"wheel-down", 0, -1}, {"wheel-right", 1, 0}, {"wheel-left", -1, 0}};
	const char *name = json_string_value(json_object_get(data, "button"));
	bool down = json_is_true(json_object_get(data, "down"));
	uint16_t button;

	for (size_t i = 0; name && i < ARRAY_LEN(wheels); i++)
		if (!strcmp(name, wheels[i].name))
			return down ? add(l, INPUT_WHEEL, 0, wheels[i].right, wheels[i].up, e) : 0;
	if (button_of(json_object_get(data, "button"), &button, e))
		return -EINVAL;
	return add(l, INPUT_BUTTON, button, down, 0, e);
}

/* x and y of one movement come as two events: what follows upon a movement joins it. */
static int qemu_axis(struct super *s, struct events *l, const json_t *data, bool absolute, struct err *e)
{
	const char *axis = json_string_value(json_object_get(data, "axis"));
	const uint16_t type = absolute ? INPUT_POINT : INPUT_MOVE;
	const bool is_y = axis && !strcmp(axis, "y");
	struct input_event *last = l->n ? &l->ev[l->n - 1] : NULL;
	int32_t v = 0;

	if (!axis || (strcmp(axis, "x") && !is_y))
		return err_set(e, EINVAL, "the axis is x or y");
	if (number_of(json_object_get(data, "value"), absolute ? 0 : -32768, INPUT_POINT_MAX, &v, e))
		return -EINVAL;
	if (absolute)
		*(is_y ? &s->keys.y : &s->keys.x) = v;
	if (!last || last->type != type)
		return absolute ? add(l, type, 0, s->keys.x, s->keys.y, e) : add(l, type, 0, is_y ? 0 : v, is_y ? v : 0, e);
	if (absolute)
		*last = (struct input_event){.type = type, .a = s->keys.x, .b = s->keys.y};
	else
		*(is_y ? &last->b : &last->a) += v;
	return 0;
}

static int qemu_event(struct super *s, struct events *l, const json_t *j, struct err *e)
{
	const char *type = json_string_value(json_object_get(j, "type"));
	const json_t *data = json_object_get(j, "data");
	uint16_t key;

	if (type && !strcmp(type, "key")) {
		if (qemu_key(json_object_get(data, "key"), &key, e))
			return -EINVAL;
		return add(l, INPUT_KEY, key, json_is_true(json_object_get(data, "down")), 0, e);
	}
	if (type && !strcmp(type, "btn"))
		return qemu_button(l, data, e);
	if (type && (!strcmp(type, "rel") || !strcmp(type, "abs")))
		return qemu_axis(s, l, data, *type == 'a', e);
	return err_set(e, EINVAL, "the type of an event is key, btn, rel or abs");
}

json_t *super_send_event(void *arg, json_t *args, struct err *e)
{
	return each_event(arg, args, qemu_event, e);
}

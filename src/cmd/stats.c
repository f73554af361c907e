/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cmd/parse.h"
#include "cmd/stats.h"

/* ---- reading ---- */

static bool number_read(const char *s, uint64_t *v)
{
	char *end;

	/* strtoull() would take blanks and signs */
	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*v = strtoull(s, &end, 10);
	return !errno && !*end;
}

static void line_parse(struct stats *s, char *line)
{
	char *value = strchr(line, ' ');
	struct stats_row *r = &s->row[s->n];

	if (!value || value == line || value - line > STATS_NAME_MAX || s->n == STATS_ROWS) {
		s->lost++;
		return;
	}
	*value++ = 0;
	if (strlen(value) > STATS_TEXT_MAX)
		value[STATS_TEXT_MAX] = 0;
	*r = (struct stats_row){.name = line, .text = value};
	r->number = number_read(value, &r->value);
	if (!r->number)
		r->value = 0;
	s->n++;
}

void stats_parse(struct stats *s, char *text, size_t len)
{
	char *line = text;

	s->n = s->lost = 0;
	text[len] = '\n';
	for (char *p = text; p <= text + len; p++) {
		if (*p == '\n') {
			*p = 0;
			if (p > line)
				line_parse(s, line);
			line = p + 1;
		} else if (*p < 0x20 || *p > 0x7e) {
			*p = '?';
		}
	}
}

/* ---- writing ---- */

/* How a group is shown. */
enum kind {
	PLAIN,  /* in the order of the engine */
	COUNTS, /* the most frequent first, with its share and that of all so far */
	TIMES,  /* nanoseconds, the longest first, with its share */
};

struct group {
	const char *name; /* not terminated; length 0: lines without a group */
	size_t len;
	enum kind kind;
	uint64_t total; /* saturated */
	double sum;     /* the same for shares, which are out of more than that then */
};

struct line {
	const struct stats_row *row;
	const struct group *group;
	unsigned at; /* in the order of the engine */
};

struct table {
	FILE *f;
	const struct stats *s;
	const struct stats_view *v;
	struct group group[STATS_ROWS];
	struct line line[STATS_ROWS];
	unsigned ngroups, nlines;
	int name_width, value_width, rate_width;
};

/* Values beside which their relation to another one is of interest. */
static const struct ratio {
	const char *name, *to;
	double scale;
	const char *words;
} ratios[] = {
	{"cache.used", "cache.size", 100, " % of the size"},
	{"interp.instructions", "interp.blocks", 1, " per block"},
	{"translate.instructions", "translate.blocks", 1, " per block"},
	{"translate.bytes_host", "translate.bytes_guest", 1, " per byte of the guest"},
	{"translate.ns", "translate.instructions", 1, " ns per instruction"},
};

static const struct stats_row *row_find(const struct stats *s, const char *name)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!strcmp(s->row[i].name, name))
			return &s->row[i];
	return NULL;
}

/* The part of a row's name behind the group. */
static const char *row_name(const struct line *l)
{
	return l->row->name + (l->group->len ? l->group->len + 1 : 0);
}

/* Whether one of the words of name, which are set apart by dots and underscores, is this one. */
static bool has_word(const char *name, const char *word)
{
	for (;;) {
		size_t n = strcspn(name, "._");

		if (n == strlen(word) && !memcmp(name, word, n))
			return true;
		if (!name[n])
			return false;
		name += n + 1;
	}
}

static bool is_size(const char *name)
{
	return has_word(name, "bytes") || !strcmp(name, "cache.used") || !strcmp(name, "cache.size");
}

static uint64_t add_saturated(uint64_t a, uint64_t b)
{
	return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

static double percent(double part, double all)
{
	return all > 0 ? 100 * part / all : 0;
}

static const char *thousands(uint64_t v, char buf[32])
{
	char digits[24];
	int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)v), at = 0;

	for (int i = 0; i < n; i++) {
		if (i && (n - i) % 3 == 0)
			buf[at++] = ',';
		buf[at++] = digits[i];
	}
	buf[at] = 0;
	return buf;
}

static const char *seconds(uint64_t ns, char buf[32])
{
	size_t n = strlen(thousands(ns / 1000000000, buf));

	snprintf(buf + n, 32 - n, ".%03u s", (unsigned)(ns / 1000000 % 1000));
	return buf;
}

static const char *total_text(const struct group *g, char buf[32])
{
	return g->kind == TIMES ? seconds(g->total, buf) : thousands(g->total, buf);
}

static const char *value_text(const struct line *l, char buf[32])
{
	if (!l->row->number)
		return l->row->text;
	return l->group->kind == TIMES ? seconds(l->row->value, buf) : thousands(l->row->value, buf);
}

/* The change per second since the earlier look; empty if there is none. */
static const char *rate_text(const struct table *t, const struct line *l, char buf[40])
{
	const struct stats_row *now = l->row, *was;
	char number[32];
	double rate;

	buf[0] = 0;
	if (!t->v->before || !t->v->elapsed_ns || !now->number)
		return buf;
	/* mostly both looks have the same rows */
	was = l->at < t->v->before->n ? &t->v->before->row[l->at] : NULL;
	if (!was || strcmp(was->name, now->name))
		was = row_find(t->v->before, now->name);
	/* what went down is a level, or began anew */
	if (!was || !was->number || was->value >= now->value)
		return buf;
	rate = (double)(now->value - was->value) * 1e9 / (double)t->v->elapsed_ns;
	if (l->group->kind == TIMES)
		snprintf(buf, 40, "%.3f s/s", rate / 1e9);
	else if (rate < 10)
		snprintf(buf, 40, "%.1f/s", rate);
	else
		snprintf(buf, 40, "%s/s",
			thousands(rate < 1.8e19 ? (uint64_t)(rate + 0.5) : UINT64_MAX, number));
	return buf;
}

/* What can be said about a row of a PLAIN group beside its value; often nothing. */
static const char *note_text(const struct table *t, const struct line *l, char buf[96])
{
	const struct stats_row *r = l->row, *to;
	char words[32];
	size_t n = 0;

	buf[0] = 0;
	if (is_size(r->name) && r->value >= KIB)
		n = (size_t)snprintf(buf, 96, "%s", format_size(r->value, words));
	else if (has_word(r->name, "ns"))
		n = (size_t)snprintf(buf, 96, "%s", seconds(r->value, words));
	for (size_t i = 0; i < ARRAY_LEN(ratios); i++) {
		if (strcmp(ratios[i].name, r->name))
			continue;
		to = row_find(t->s, ratios[i].to);
		if (to && to->number && to->value)
			snprintf(buf + n, 96 - n, "%s%.1f%s", n ? ", " : "",
				ratios[i].scale * (double)r->value / (double)to->value, ratios[i].words);
	}
	return buf;
}

/* The shares of a row of the other groups; before: the sum of those above it. */
static const char *share_text(const struct line *l, double before, char buf[96])
{
	double value = (double)l->row->value;
	int n = snprintf(buf, 96, "%5.1f %%", percent(value, l->group->sum));

	if (l->group->kind == COUNTS)
		snprintf(buf + n, 96 - (size_t)n, "  %5.1f %%", percent(before + value, l->group->sum));
	return buf;
}

static struct group *group_of(struct table *t, const char *name)
{
	static const struct {
		const char *name;
		enum kind kind;
	} kinds[] = {{"exits", COUNTS}, {"sensitive", COUNTS}, {"time", TIMES}};
	size_t len = strcspn(name, ".");
	struct group *g;

	if (!name[len] || !name[len + 1])
		len = 0;
	/* the last one first: rows of a group mostly follow each other */
	for (unsigned i = t->ngroups; i > 0; i--) {
		g = &t->group[i - 1];
		if (g->len == len && !memcmp(g->name, name, len))
			return g;
	}
	g = &t->group[t->ngroups++];
	*g = (struct group){.name = name, .len = len, .kind = PLAIN};
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (len == strlen(kinds[i].name) && !memcmp(name, kinds[i].name, len))
			g->kind = kinds[i].kind;
	return g;
}

/* By group; in those that are sorted, numbers before words and large ones first. */
static int line_compare(const void *pa, const void *pb)
{
	const struct line *a = pa, *b = pb;

	if (a->group != b->group) {
		/* lines without a group come first */
		if (!a->group->len != !b->group->len)
			return a->group->len ? 1 : -1;
		return a->group < b->group ? -1 : 1;
	}
	if (a->group->kind != PLAIN) {
		if (a->row->number != b->row->number)
			return a->row->number ? -1 : 1;
		if (a->row->number && a->row->value != b->row->value)
			return a->row->value > b->row->value ? -1 : 1;
	}
	return a->at < b->at ? -1 : 1;
}

static void widen(int *width, size_t n)
{
	if ((int)n > *width)
		*width = (int)n;
}

static void table_fill(struct table *t)
{
	for (unsigned i = 0; i < t->s->n; i++) {
		const struct stats_row *r = &t->s->row[i];
		struct group *g = group_of(t, r->name);

		if (r->number) {
			g->total = add_saturated(g->total, r->value);
			g->sum += (double)r->value;
		}
		/* what never happened is most of a histogram */
		if (g->kind == PLAIN || !r->number || r->value)
			t->line[t->nlines++] = (struct line){.row = r, .group = g, .at = i};
	}
	qsort(t->line, t->nlines, sizeof t->line[0], line_compare);
	for (unsigned i = 0; i < t->nlines; i++) {
		const struct line *l = &t->line[i];
		char buf[32], rate[40];

		widen(&t->name_width, strlen(row_name(l)) + (l->group->len ? 2 : 0));
		widen(&t->rate_width, strlen(rate_text(t, l, rate)));
		/* words may stand out to the right */
		if (l->row->number)
			widen(&t->value_width, strlen(value_text(l, buf)));
	}
	for (unsigned i = 0; i < t->ngroups; i++) {
		const struct group *g = &t->group[i];
		char buf[32];

		widen(&t->name_width, g->len);
		if (g->kind != PLAIN)
			widen(&t->value_width, strlen(total_text(g, buf)));
	}
}

/* The columns behind the value, without blanks at the end of the line. */
static void tail_print(const struct table *t, const char *rate, const char *note)
{
	if (t->rate_width && (*rate || *note))
		fprintf(t->f, "  %*s", t->rate_width, rate);
	if (*note)
		fprintf(t->f, "  %s", note);
	putc('\n', t->f);
}

/* line[0, n) are the group's. */
static void head_print(const struct table *t, const struct group *g, const struct line *line, unsigned n)
{
	const char *on = t->v->colour ? "\033[1m" : "", *off = t->v->colour ? "\033[0m" : "";
	unsigned kinds = 0, most = 0;
	char buf[32], note[64] = "";
	double sum = 0;

	if (!g->len)
		return;
	fprintf(t->f, "%s%.*s%s", on, (int)g->len, g->name, off);
	if (g->kind == PLAIN) {
		putc('\n', t->f);
		return;
	}
	fprintf(t->f, "%*s  %*s", t->name_width - (int)g->len, "", t->value_width,
		total_text(g, buf));
	for (; kinds < n && line[kinds].row->number; kinds++) {
		most += sum < 0.95 * g->sum;
		sum += (double)line[kinds].row->value;
	}
	if (g->kind == COUNTS && kinds)
		snprintf(note, sizeof note, "%u of %u make%s 95 %%", most, kinds, most == 1 ? "s" : "");
	tail_print(t, "", note);
}

static void line_print(const struct table *t, const struct line *l, double before)
{
	int indent = l->group->len ? 2 : 0;
	char buf[32], rate[40], note[96];

	fprintf(t->f, "%*s%-*s  ", indent, "", t->name_width - indent, row_name(l));
	if (!l->row->number) {
		fprintf(t->f, "%s\n", l->row->text);
		return;
	}
	fprintf(t->f, "%*s", t->value_width, value_text(l, buf));
	tail_print(t, rate_text(t, l, rate), l->group->kind == PLAIN ? note_text(t, l, note)
								     : share_text(l, before, note));
}

void stats_print(FILE *f, const struct stats *s, const struct stats_view *v)
{
	struct table *t = xcalloc(1, sizeof *t);

	t->f = f;
	t->s = s;
	t->v = v;
	table_fill(t);
	for (unsigned i = 0, n; i < t->nlines; i += n) {
		double before = 0;

		for (n = 1; i + n < t->nlines && t->line[i + n].group == t->line[i].group; n++)
			;
		head_print(t, t->line[i].group, &t->line[i], n);
		for (unsigned j = i; j < i + n; j++) {
			line_print(t, &t->line[j], before);
			before += (double)t->line[j].row->value;
		}
	}
	if (s->lost)
		fprintf(f, "and %u lines that are not understood\n", s->lost);
	free(t);
}

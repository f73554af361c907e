/* SPDX-License-Identifier: MIT */
/* The binary translator as the list of engines sees it. */
#ifndef ENGINE_BT_H
#define ENGINE_BT_H

#include <stdbool.h>

/* Has this host's CPU what translated code uses: BMI1, BMI2, LZCNT, MOVBE, POPCNT, SSE4.2, LAHF in 64-bit mode? */
bool bt_host_fits(void);

#endif

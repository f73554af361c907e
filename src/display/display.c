/* SPDX-License-Identifier: MIT */
#include "display/display.h"

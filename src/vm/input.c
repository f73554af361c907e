/* SPDX-License-Identifier: MIT */
#include "vm/input.h"

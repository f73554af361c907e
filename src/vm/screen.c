/* SPDX-License-Identifier: MIT */
#include "vm/screen.h"

/* SPDX-License-Identifier: MIT */
#include "block/blk.h"

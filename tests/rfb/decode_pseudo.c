/* SPDX-License-Identifier: MIT */
#include "decode.h"

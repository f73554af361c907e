/* SPDX-License-Identifier: MIT */
#include "rfb/stream.h"

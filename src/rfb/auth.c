/* SPDX-License-Identifier: MIT */
#include "rfb/auth.h"

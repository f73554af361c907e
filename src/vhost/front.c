/* SPDX-License-Identifier: MIT */
#include "vhost/front.h"

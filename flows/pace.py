"""How fast a stage goes and when it will be over, in words."""


def clock_time(seconds: float) -> str:
    """ "0:41", "12:05" or "1:02:03" for a number of seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def rate(per_second: float, unit: str) -> str:
    """ "52 images/s", or "0.31 images/s"."""
    return f"{per_second:,.0f} {unit}/s" if per_second >= 10 else f"{per_second:.2g} {unit}/s"


def pace(done: int, total: int, seconds: float, unit: str) -> str:
    """Rate and time left after `seconds` of work: "52 images/s, 0:23 left". Empty while nothing can be told."""
    if done <= 0 or seconds <= 0:
        return ""
    told = [rate(done / seconds, unit)]
    if total > done:
        told.append(f"{clock_time((total - done) * seconds / done)} left")
    return ", ".join(told)

-- For wrk: every request another target, of which each second one is not found.
local number = 0
request = function()
    number = number + 1
    return wrk.format("GET", (number % 2 == 0 and "/200/" or "/404/") .. number)
end

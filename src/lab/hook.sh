#!/bin/sh
# Called by each guest's DHCP client when something happened: one line for the lab to tell, and
# (dhcpcd does it by itself) the address onto eth0.
exec 2>/dev/null
event=${1:-$reason}
address=${ip:-$new_ip_address}
echo "$event ${address:--} ${lease:-${new_dhcp_lease_time:--}}" >> "$(dirname "$0")/events"
[ -e "$(dirname "$0")/sets-its-address" ] && exit 0
case $event in
bound|renew|BOUND|RENEW|REBIND|REBOOT) ip -4 addr replace "$address/24" dev eth0 ;;
deconfig|RELEASE|STOP|EXPIRE|FAIL) ip -4 addr flush dev eth0; ip link set eth0 up ;;
PREINIT) ip link set eth0 up ;;
esac
exit 0

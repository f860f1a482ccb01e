#!/bin/sh
# Called by each guest's DHCP client when something happened: one line for the lab to tell, and
# (dhcpcd does it by itself) the address onto eth0.
exec 2>/dev/null
event=${1:-$reason}
address=${ip:-$new_ip_address}
lease=${lease:-$new_dhcp_lease_time}
case $event in
*6)
    address=${new_ip6_address:-$new_dhcp6_ia_na1_ia_addr1}
    lease=${new_max_life:-$new_dhcp6_ia_na1_ia_addr1_vltime}
    prefix=${new_dhcp6_ia_pd1_prefix1:+$new_dhcp6_ia_pd1_prefix1/$new_dhcp6_ia_pd1_prefix1_length} ;;
esac
[ "$event" = DELEGATED6 ] && prefix=$new_delegated_dhcp6_prefix
echo "$event ${address:--} ${lease:--} ${prefix:--}" >> "$(dirname "$0")/events"
[ -e "$(dirname "$0")/sets-its-address" ] && exit 0
case $event in
bound|renew|BOUND|RENEW|REBIND|REBOOT) ip -4 addr replace "$address/24" dev eth0 ;;
deconfig|RELEASE|STOP|EXPIRE|FAIL) ip -4 addr flush dev eth0; ip link set eth0 up ;;
BOUND6|RENEW6|REBIND6) ip -6 addr replace "$address/128" dev eth0 ;;
RELEASE6|STOP6|EXPIRE6) ip -6 addr flush dev eth0 scope global ;;
PREINIT|PREINIT6) ip link set eth0 up ;;
esac
exit 0
